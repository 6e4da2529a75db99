// Writes tensors in memory to a safetensors file, compressed or not.
//
//   const TensorData tensors[] = {{"emb.weight", DType::kF32, {1000, 64}, bytes}};
//   Status saved = save_tensors(Env::posix(), {.output = "model.safetensors", .compress = true},
//                               tensors, threads, progress);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/io/env.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// One tensor to write.
struct TensorData {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;  ///< of all values, row-major, as they go into the file
};

/// Where tensors are written to, and how.
struct SaveJob {
  std::string output;
  Metadata metadata = {};
  bool compress = false;        ///< as compress_file does
  bool overwrite = false;       ///< replace an output that exists
  bool overwrite_blob = false;  ///< see PruneJob
};

/// Writes the tensors in the order of Python's safetensors: the larger DType first, then by name.
/// So values are aligned, and a file that is not compressed equals the one that Python writes.
///
/// The output appears under its name only when it is whole and durable; on any error what was there
/// before stays, and nothing else is left. Memory: the header and some bytes for each tensor;
/// compressing as compress_file. The values may not change meanwhile.
/// Errors: kInvalidArgument for texts that are not UTF-8 and metadata that mark a compressed file;
/// for tensors that no reader would accept, such as two of one name, the reader's errors; else
/// those of the output as in prune_file, kOutOfMemory, kInterrupted.
Status save_tensors(Env& env, const SaveJob& job, std::span<const TensorData> tensors,
                    ParallelFor& threads, Progress& progress);

}  // namespace winnow
