// One budget over matrices that do not fit into memory together. The matrices are visited one after
// the other, in passes, until the threshold is known; then each mask is computed on its own.
//
//   Result<GlobalSelection> selection = GlobalSelection::create(shapes, config);
//   while (!selection->ready()) {
//     for (size_t i = 0; i < shapes.size(); ++i) selection->visit(i, load(i), threads);
//     selection->end_pass();
//   }
//   for (size_t i = 0; i < shapes.size(); ++i) selection->write_mask(i, load(i), mask, threads);
//
// The masks equal those of compute_global_masks, byte for byte. Two passes are usual. A misleading
// sample costs more passes, but never more than eight in all.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/mask.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// What must be known of a matrix before its values are visited.
struct MatrixInfo {
  MatrixShape shape;
  DType dtype = DType::kF32;
};

/// The search for the threshold of one budget. Not thread-safe. Memory: 150 bytes for every matrix,
/// 20 for every 64 Ki blocks, and for the matrix at hand 4 KiB for every 64 Ki blocks. Besides, the
/// candidates for the threshold: one key (4 bytes, 8 with F64) for every 32 blocks, twice while
/// they are collected, or `max_bytes` if that is less. Every function may return kOutOfMemory.
class GlobalSelection {
 public:
  /// The least that a search gets along with.
  static constexpr uint64_t kLeastBytes = uint64_t{1} << 16;

  /// Starts a search over `matrices`.
  /// @param max_bytes  for the candidates, at least kLeastBytes. Less memory can mean more passes,
  ///                   up to the eight, but never another mask.
  /// Errors: kInvalidArgument for an invalid config, a dtype that cannot be pruned, and too few
  /// bytes.
  static Result<GlobalSelection> create(std::vector<MatrixInfo> matrices,
                                        const DataNormConfig& config,
                                        uint64_t max_bytes = UINT64_MAX);

  /// Movable. An object that was moved from may only be destroyed or assigned to.
  GlobalSelection(GlobalSelection&&) noexcept;
  GlobalSelection& operator=(GlobalSelection&&) noexcept;
  ~GlobalSelection();

  /// Returns true if the threshold is known. If the level drops nothing or everything, it is known
  /// from the start.
  bool ready() const noexcept;

  /// Processes matrix `index` in the current pass. Call it once for each matrix and pass, in any
  /// order, with the same values in every pass.
  Status visit(size_t index, const MatrixView& values, ParallelFor& threads);

  /// Ends a pass. Precondition: every matrix was visited in it. Error: kInputChanged if the values
  /// of two passes contradict each other; the selection cannot be used any more then.
  Status end_pass();

  /// Writes the mask of matrix `index`, one byte for each value, 1 = kept. Precondition: ready().
  Result<MaskStats> write_mask(size_t index, const MatrixView& values, std::span<uint8_t> mask,
                               ParallelFor& threads) const;

 private:
  class Impl;
  explicit GlobalSelection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace winnow
