// One budget over matrices that do not fit into memory together: they are shown one after the
// other, pass by pass, until the threshold is known; then each one's mask can be made on its own.
//
//   Result<GlobalSelection> selection = GlobalSelection::create(shapes, config);
//   while (!selection->ready()) {
//     for (size_t i = 0; i < shapes.size(); ++i) selection->visit(i, load(i), threads);
//     selection->end_pass();
//   }
//   for (size_t i = 0; i < shapes.size(); ++i) selection->write_mask(i, load(i), mask, threads);
//
// The masks equal those of compute_global_masks, byte for byte. Two passes are usual, more are
// needed where the sample misled; never more than eight.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/mask.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// What must be known of a matrix before its values are seen.
struct MatrixInfo {
  MatrixShape shape;
  DType dtype = DType::kF32;
};

/// The search for the threshold of one budget. Not thread-safe. Memory: about 150 bytes for every
/// matrix and every 64 Ki blocks, plus the candidates of the threshold: at most one key (4 bytes, 8
/// with F64) for every 32 blocks.
class GlobalSelection {
 public:
  /// Errors: kInvalidArgument for the config or a dtype that cannot be pruned.
  static Result<GlobalSelection> create(std::vector<MatrixInfo> matrices,
                                        const DataNormConfig& config);

  GlobalSelection(GlobalSelection&&) noexcept;
  GlobalSelection& operator=(GlobalSelection&&) noexcept;
  ~GlobalSelection();

  /// True when the threshold is known; at once where the level drops nothing or everything.
  bool ready() const noexcept;

  /// Shows matrix `index` to the pass that is under way, once in each pass, in any order.
  /// The values must be the same in every pass.
  Status visit(size_t index, const MatrixView& values, ParallelFor& threads);

  /// Ends a pass. Precondition: every matrix was visited in it.
  /// Error: kInputChanged where the values of two passes contradict each other; the selection is
  /// then of no further use.
  Status end_pass();

  /// Writes the mask of matrix `index`. Precondition: ready().
  Result<MaskStats> write_mask(size_t index, const MatrixView& values, std::span<uint8_t> mask,
                               ParallelFor& threads) const;

 private:
  class Impl;
  explicit GlobalSelection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace winnow
