// Lists the tensors of a checkpoint, and figures of their values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/core/values.h"
#include "winnow/io/env.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// One tensor, with the figures of its values if they were asked for.
struct InspectedTensor {
  TensorInfo tensor;
  std::vector<std::string> aliases = {};  ///< its other names, see tensor_aliases
  StoredTensor stored = {};               ///< its size in the file, and how it is compressed
  std::optional<ValueStats> stats;        ///< set only for dtypes that can be pruned
};

/// Sums over all tensors of one dtype.
struct DTypeTotal {
  DType dtype = DType::kF32;
  uint64_t tensors = 0;
  uint64_t values = 0;
  uint64_t bytes = 0;
};

/// The content of a file.
struct Inspection {
  uint64_t file_bytes = 0;
  bool is_compressed = false;
  uint64_t header_bytes = 0;  ///< of the header's text, including its padding; of a pickle
  Metadata metadata;
  std::vector<InspectedTensor> tensors;  ///< in the order of the header
  std::vector<DTypeTotal> dtypes;        ///< in the order of DType; only those that occur
  std::vector<OpaqueValue> opaque;       ///< of a torch archive: what is not looked into
  uint64_t plain_values = 0;             ///< likewise: numbers, strings, None
  StageSeconds seconds;
};

/// Reads the header of the file at `path`. With `stats` it also reads every value, through a buffer
/// of 4 MiB for each thread. The figures do not depend on the number of threads. Errors: those of
/// the header (codes from 100 on), kIoError, kInputChanged, kOutOfMemory, kInterrupted.
Result<Inspection> inspect_file(Env& env, const std::string& path, bool stats, ParallelFor& threads,
                                Progress& progress);

}  // namespace winnow
