// Prunes a checkpoint to another one: a file, or a folder with shards.
//
//   PruneJob job{.input = "model.safetensors", .output = "model-80.safetensors",
//                .settings = {.config = {.sparsity_level = 0.8}}};
//   Result<PruneResult> result = prune_file(Env::posix(), job, threads, progress);
//
// Names, order, shapes, metadata and the tensors that are not pruned are carried over byte for
// byte; dropped values become +0.0. The output's bytes follow from the input's bytes, the settings
// and the version of winnow, from nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/max_memory.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/checkpoint/prune_plan.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/io/env.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// What to prune, to where and how.
struct PruneJob {
  std::string input;
  /// In a dry run may be empty; else it is checked, not claimed. For an input that is a folder, the
  /// output is a new folder, to which the files beside the shards are carried, unless it is named
  /// .safetensors: then it is one file.
  std::string output;
  PruneSettings settings;
  bool overwrite = false;  ///< replace an output that exists; it may be the input itself
  bool compress = false;   ///< write a compressed file, as compress_file does
  bool dry_run = false;    ///< read and compute everything, write nothing

  /// With `overwrite`: also an output that is named by its hash, as the files are that links in
  /// Hugging Face's cache lead to; without it that is kNamedByHash (io/atomic_file.h).
  bool overwrite_blob = false;

  uint64_t max_memory = kDefaultMaxMemory;  ///< bytes that the process may take

  /// Replace the input, without an output: a file as with `overwrite`, the shards of a folder all
  /// or none. What a run that was killed left in the folder is finished or rolled back first.
  bool in_place = false;
};

/// What happened to one tensor.
struct TensorReport {
  TensorInfo tensor;
  std::vector<std::string> aliases = {};  ///< its other names: see tensor_aliases
  std::optional<SkipReason> skipped;      ///< set: copied untouched; the counts below are 0
  double sparsity_level = 0;              ///< asked for; with a global scope the budget's level
  uint64_t blocks = 0;
  uint64_t selected_blocks = 0;
  /// Rows (slices) that would have been dropped whole and were kept, because their norm is
  /// divided by: see PlanEntry::guard. Their blocks count as selected nevertheless.
  uint64_t kept_rows = 0;
  uint64_t zeros_before = 0;
  uint64_t zeros_after = 0;
};

/// Calls visit(name, value) for each figure of a tensor that was pruned.
template <typename Visit>
void visit_fields(const TensorReport& report, const Visit& visit) {
  visit("sparsity_level", report.sparsity_level);
  visit("blocks", report.blocks);
  visit("selected_blocks", report.selected_blocks);
  visit("kept_rows", report.kept_rows);
  visit("zeros_before", report.zeros_before);
  visit("zeros_after", report.zeros_after);
}

/// Sums over the tensors of a file. From `pruned_values` on they are of the pruned tensors alone.
struct PruneTotals {
  uint64_t tensors = 0;
  uint64_t pruned_tensors = 0;
  uint64_t left_alone = 0;  ///< of the others, those that the default selection keeps out
  uint64_t values = 0;
  uint64_t pruned_values = 0;
  uint64_t blocks = 0;
  uint64_t selected_blocks = 0;
  uint64_t kept_rows = 0;
  uint64_t zeros_before = 0;
  uint64_t zeros_after = 0;

  void add(const TensorReport& report) noexcept;
};

/// Calls visit(name, value) for each sum.
template <typename Visit>
void visit_fields(const PruneTotals& totals, const Visit& visit) {
  visit("tensors", totals.tensors);
  visit("pruned_tensors", totals.pruned_tensors);
  visit("left_alone", totals.left_alone);
  visit("values", totals.values);
  visit("pruned_values", totals.pruned_values);
  visit("blocks", totals.blocks);
  visit("selected_blocks", totals.selected_blocks);
  visit("kept_rows", totals.kept_rows);
  visit("zeros_before", totals.zeros_before);
  visit("zeros_after", totals.zeros_after);
}

/// What happened to a file.
struct PruneResult {
  std::vector<TensorReport> tensors;  ///< in the order of the data in the file
  PruneTotals totals;                 ///< over `tensors`
  uint64_t input_bytes = 0;           ///< size of the file
  uint64_t output_bytes = 0;          ///< size of the output; in a dry run what it would be, not
                                      ///< compressed

  /// The file or folder that was written: job.output, or where that is a symbolic link, the
  /// absolute path of the file that it leads to. Empty after a dry run.
  std::string written;
  /// Where a folder was written: what lies beside the input or in its subdirectories and was not
  /// carried over, as sorted paths from the input's folder. Nothing below a directory that is
  /// listed was carried.
  std::vector<std::string> left_out;
  /// Where a torch archive became a safetensors file: its values that are no tensors, such as
  /// numbers and texts, which were not carried over.
  uint64_t left_out_values = 0;
  StageSeconds seconds;
};

/// Prunes job.input to job.output.
///
/// All that can be checked before work is: settings, patterns, header, output. The output appears
/// under its name only when it is whole and durable; on any error what was there before stays, and
/// nothing else is left. The input is checked for changes before the output appears.
///
/// Memory: at most job.max_memory, whatever the size of tensors and files; the result does not
/// depend on it. It includes the program (24 MiB), the header (4 times its text, and 600 bytes for
/// each tensor) and the threads' buffers. A tensor that fits into what is left (with its mask and
/// scratch: 1.5 times an F32 one, and 32 MiB) is read once. A larger one is read in pieces, three
/// times: two passes look for the threshold (more, if its sample misleads), the last one makes the
/// mask. A guard takes one pass more, and so do blocks of several rows if one row of blocks does
/// not fit. kInvalidArgument, with the least that works, if max_memory does not hold all that and
/// 8 MiB, or twice the largest block.
///
/// Errors: those of the settings (see make_plan), of the output (kAlreadyExists,
/// kSameFile, kNamedByHash, kUnsupportedFile, kBusy), of the header (from 100 on), kNanValue for
/// the first NaN in file order under NanPolicy::kError, kInputChanged, kIoError, kOutOfMemory,
/// kInterrupted. kNotDurable alone means that the output is in place. Of an input that is a folder
/// also those of ShardError, of the output those of AtomicDirectory and, in place, of
/// AtomicFileSet.
Result<PruneResult> prune_file(Env& env, const PruneJob& job, ParallelFor& threads,
                               Progress& progress);

}  // namespace winnow
