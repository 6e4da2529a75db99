// Compresses a checkpoint without losing a bit, and decompresses it.
//
//   CompressJob job{.input = "pruned.safetensors", .output = "small.safetensors"};
//   Result<CompressResult> result = compress_file(Env::posix(), job, threads, progress);
//
// A compressed file is a safetensors file that lists the tensors by their names; docs/formats.md
// describes its bytes. What decompress_file makes of it is the input, byte for byte, its header
// too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/max_memory.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/io/env.h"

namespace winnow {

/// What to compress or decompress, and to where.
struct CompressJob {
  std::string input;
  std::string output;  ///< see PruneJob::output
  /// Patterns (tensor_patterns.h) of the tensors that are compressed; empty: all. The others are
  /// stored as they are. Not for decompress_file.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};    ///< takes precedence over include
  bool overwrite = false;                   ///< replace an output that exists
  bool overwrite_blob = false;              ///< see PruneJob
  bool dry_run = false;                     ///< read and check everything, write nothing
  uint64_t max_memory = kDefaultMaxMemory;  ///< bytes that the process may take
  bool in_place = false;                    ///< see PruneJob
};

/// What happened to one tensor.
struct CompressedReport {
  TensorInfo tensor;
  StoredTensor stored;  ///< in the compressed file
};

/// What happened to a file.
struct CompressResult {
  std::vector<CompressedReport> tensors;  ///< in the order of the header
  uint64_t input_bytes = 0;
  uint64_t output_bytes = 0;
  std::string written;                ///< what was written, see PruneResult::written
  std::vector<std::string> left_out;  ///< see PruneResult::left_out
  uint64_t left_out_values = 0;       ///< see PruneResult::left_out_values
  StageSeconds seconds;
};

/// Compresses job.input. The output appears under its name only when it is whole and durable; on
/// any error what was there before stays, and nothing else is left.
///
/// Equal input and patterns give equal bytes for any number of threads; another version of libzstd
/// may give others, which decompress to the same. Tensors whose first chunk does not get at least 1
/// % smaller are stored as they are; if the whole file would not get smaller, the output is a copy
/// of the input.
///
/// Memory: at most job.max_memory. Of it the program takes 24 MiB, the header 4 times its text and
/// 600 bytes for each tensor, and each thread 11 chunks of a million values; if it is not enough
/// for all threads that are lent, fewer work. Errors: kInvalidArgument if it is not enough for one,
/// with the least that works, for a
/// pattern, for an input that is compressed already, and for a header that would be over the
/// format's limits; kUnknownTensor for a pattern that matches nothing; else as prune_file.
Result<CompressResult> compress_file(Env& env, const CompressJob& job, ParallelFor& threads,
                                     Progress& progress);

/// Decompresses job.input. Nothing of it is trusted: every chunk has a checksum over its bytes and
/// one over its values. A file that is not compressed is copied as it is. Memory as above, with 6
/// chunks for each thread. Errors: the codes of SparseError; else as prune_file.
Result<CompressResult> decompress_file(Env& env, const CompressJob& job, ParallelFor& threads,
                                       Progress& progress);

}  // namespace winnow
