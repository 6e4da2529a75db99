// Private: the path from a file and a plan to masks, shared by prune_file and verify_file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/chunks.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/prune_plan.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/mask.h"

namespace winnow::checkpoint {

/// What was seen of a tensor's values while they were read.
struct LoadedValues {
  std::span<std::byte> bytes;  ///< in the maker's memory until the next load
  uint64_t zeros = 0;
};

/// What a mask dropped, and what was kept of it by the plan entry's guard.
struct GuardedStats {
  MaskStats mask;  ///< dropped_values without those that were kept
  KeptSlices kept;
};

/// Loads one planned tensor after the other and computes their masks, in memory that is used again
/// and again: the largest tensor's bytes and one byte for each of its values.
class MaskMaker {
 public:
  /// What the maker works on; all of it outlives the maker. `plan` is of `file`, whose path only
  /// serves messages.
  struct Inputs {
    const std::string& path;
    const CheckpointReader& file;
    const std::vector<PlanEntry>& plan;
    const PruneSettings& settings;
    ParallelFor& threads;
    Progress& progress;
    StageSeconds& seconds;
  };
  explicit MaskMaker(const Inputs& inputs) : in_(inputs) {}

  /// Takes the memory. With a global scope, also reads the selected tensors until the threshold is
  /// known. Errors: kOutOfMemory, kNanValue, those of reading.
  Status prepare();

  /// Reads the values of a plan entry that is not skipped. Error: kNanValue under
  /// NanPolicy::kError.
  Result<LoadedValues> load(const PlanEntry& entry);

  /// The mask of the values that were loaded last, which are those of `entry`, under its guard;
  /// counts in `stats`. It stays valid until the next call.
  Result<std::span<const uint8_t>> mask(const PlanEntry& entry, GuardedStats& stats);

 private:
  Result<RawBuffer> allocate(const PlanEntry& entry, uint64_t bytes) const;
  Status run_passes();
  Status show_all_tensors();
  const TensorInfo& tensor_of(const PlanEntry& entry) const;
  MatrixView view_of(const PlanEntry& entry);
  size_t matrix_index(const PlanEntry& entry) const;
  std::string label(const PlanEntry& entry) const;  // the file and the tensor, for messages

  const Inputs in_;
  RawBuffer values_;
  RawBuffer mask_;
  std::optional<GlobalSelection> global_;
  std::vector<size_t> matrix_indices_;  // by tensor: its place among those of a global budget
};

}  // namespace winnow::checkpoint
