// Private: the path from a file and a plan to masks, shared by prune_file and verify_file.
//
// A tensor that fits into the memory given is read once, and its mask computed at once. Any other
// one is a list of pieces, each a matrix of its own, under one budget: it is read in passes until
// the threshold is known, and once more for the masks, piece by piece. So are all tensors under a
// global budget. Masks do not depend on how a tensor is read.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/masks/chunks.h"
#include "checkpoint/masks/memory_shares.h"
#include "checkpoint/masks/piece_reader.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/prune_plan.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/mask.h"

namespace winnow::checkpoint {

/// Consecutive values of a tensor, from number `first` on, and their mask, in the maker's memory.
struct MaskedValues {
  uint64_t first = 0;
  std::span<std::byte> bytes;
  std::span<const uint8_t> mask;
};

/// What was seen of a tensor, what its mask dropped, and what the plan entry's guard kept of that.
struct MaskedStats {
  MaskStats mask;  ///< dropped_values without those that were kept
  KeptSlices kept;
  uint64_t zeros = 0;  ///< values that were zero before
};

/// Computes the masks of one planned tensor after the other, in memory that is used again and
/// again.
class MaskMaker {
 public:
  /// What the maker works on; all of it outlives the maker. `plan` is of `file`, whose path only
  /// serves messages.
  struct Inputs {
    const std::string& path;
    const CheckpointReader& file;
    const std::vector<PlanEntry>& plan;
    const PruneSettings& settings;
    const MemoryShares& memory;
    ParallelFor& threads;
    Progress& progress;
    StageSeconds& seconds;
  };
  explicit MaskMaker(const Inputs& inputs);

  /// Takes the memory. With a global scope, also reads the selected tensors until the threshold is
  /// known. Errors: kOutOfMemory, kNanValue, those of reading.
  Status prepare();

  /// How many bytes `make` reads of all tensors besides each of them once. Passes that only a
  /// misleading sample asks for are not foreseen, and do not advance the progress.
  uint64_t extra_bytes() const;

  /// Calls visit(values) for the values of a plan entry that is not skipped, in order, under their
  /// mask and guard. What is visited may be changed. Errors: of `visit`; kNanValue under
  /// NanPolicy::kError.
  Result<MaskedStats> make(const PlanEntry& entry,
                           const std::function<Status(const MaskedValues&)>& visit);

 private:
  using Visit = std::function<Status(const MaskedValues&)>;
  // How the pieces of one tensor get their masks.
  struct Selection {
    const GlobalSelection& search;
    size_t first;  // the number of the tensor's first piece in it
  };

  bool is_global() const noexcept { return in_.settings.scope == Scope::kGlobal; }
  bool is_whole(const PlanEntry& entry) const;
  std::vector<MatrixPiece> pieces_of(const PlanEntry& entry) const;
  bool in_order(const PlanEntry& entry, std::span<const MatrixPiece> pieces) const;
  uint64_t buffer_bytes(const PlanEntry& entry) const;
  Status allocate();

  Result<GlobalSelection> create_selection(std::span<const PlanEntry> entries);
  Status run_global_passes();
  Result<GlobalSelection> run_passes(const PlanEntry& entry);
  Status show(const PlanEntry& entry, GlobalSelection& search, size_t first, Progress& progress);

  Result<MaskedStats> make_whole(const PlanEntry& entry, const Visit& visit);
  KeptSlices keep_slices(const PlanEntry& entry, std::span<uint8_t> mask);
  Result<MaskedStats> make_pieces(const PlanEntry& entry, const Selection& selection,
                                  const Visit& visit);
  Status make_in_order(const PlanEntry& entry, const Selection& selection,
                       std::span<const MatrixPiece> pieces, const SliceGuard* guard,
                       const Visit& visit, MaskedStats& stats);
  Status make_strips(const PlanEntry& entry, const Selection& selection,
                     std::span<const MatrixPiece> pieces, const SliceGuard* guard,
                     const Visit& visit, MaskedStats& stats);
  Status visit_strip(const PlanEntry& entry, const MatrixPiece& rows,
                     const std::vector<bool>& strip, uint64_t most, const SliceGuard* guard,
                     const Visit& visit, MaskedStats& stats);
  Result<SliceGuard> look_at_slices(const PlanEntry& entry, const Selection& selection,
                                    std::span<const MatrixPiece> pieces);

  Result<uint64_t> load(const PlanEntry& entry, const MatrixPiece& piece, Progress& progress);
  Result<MaskStats> write_mask(const PlanEntry& entry, const MatrixPiece& piece,
                               const Selection& selection, size_t number);
  const TensorInfo& tensor_of(const PlanEntry& entry) const;
  uint64_t item_bytes(const PlanEntry& entry) const;
  // Where the values of a piece of the entry stand, and behind them their mask.
  std::span<std::byte> values(const PlanEntry& entry, uint64_t count);
  std::span<uint8_t> mask(const PlanEntry& entry, uint64_t count);
  MatrixView view_of(const PlanEntry& entry, MatrixShape shape);

  const Inputs in_;
  PieceReader reader_;
  RawBuffer memory_;
  std::optional<GlobalSelection> global_;
  std::vector<size_t> first_pieces_;  // by tensor: the number of its first in a global budget
};

}  // namespace winnow::checkpoint
