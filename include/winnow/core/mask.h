// Exact masks: 1 = kept, 0 = dropped, one byte a value, in the flat row-major order of the values.
//
//   std::vector<uint8_t> mask(rows * cols);
//   MatrixView values = contiguous_view(weights, DType::kF32, {rows, cols});
//   Result<MaskStats> stats = compute_mask(values, {.sparsity_level = 0.8}, mask);
//
// The result is the same, byte for byte, for any number of threads and every SIMD level.
// Thread-safety: all functions may be called at the same time, with distinct masks. What they share
// is a pool of scratch memory, which keeps up to 32 MiB for later calls.
#pragma once

#include <cstdint>
#include <span>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"
#include "winnow/core/strided_view.h"

namespace winnow {

/// How much a mask dropped.
struct MaskStats {
  uint64_t blocks = 0;           ///< blocks that cover the matrix
  uint64_t selected_blocks = 0;  ///< those with the lowest scores
  uint64_t dropped_values = 0;   ///< bytes of the mask that are 0

  /// Adds what another mask dropped.
  MaskStats& operator+=(const MaskStats& other) noexcept {
    blocks += other.blocks;
    selected_blocks += other.selected_blocks;
    dropped_values += other.dropped_values;
    return *this;
  }
};

/// Writes the mask of `values` by the rule of `config` (see DataNormConfig).
///
/// @param values  [H, W], F32, F64, F16 or BF16; not modified; must not overlap `mask`.
/// @param mask    H * W bytes, contiguous; every byte is written.
/// @param threads lends threads; what they do never changes the result.
/// On error: kInvalidArgument (config, dtype, mask size) and kUnavailableLevel, with nothing
/// written; kOutOfMemory, with the mask in any state. Cost: one read of the values, two if many
/// of them are equal or blocks lose a part of theirs, and if the sample misled (6 masks of
/// 1,000). Scratch: at most 32 MiB for 64 million F32 values, about half a byte a value for larger
/// ones.
Result<MaskStats> compute_mask(const MatrixView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask, ParallelFor& threads);

/// As above, on the calling thread alone.
Result<MaskStats> compute_mask(const MatrixView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask);

/// A matrix and the place of its mask.
struct MaskTarget {
  MatrixView values;
  std::span<uint8_t> mask;  ///< values.numel() bytes
};

/// Spends one budget over several matrices: round_half_even(level * blocks of all of them) blocks
/// are selected, by score across all of them. If types differ, scores are compared as F64; every
/// block counts once, whatever its size. Ties go to the earlier matrix, then to the lower index.
/// Errors and cost as compute_mask; stats are the sums over all targets.
Result<MaskStats> compute_global_masks(std::span<const MaskTarget> targets,
                                       const DataNormConfig& config, ParallelFor& threads);

// The same for tensors of any layout. Those that are rows with one stride are read in place. Others
// are copied in pieces of about 4 MiB (of one block, if that is more), once for each pass over the
// values, and never whole. The masks are those of contiguous copies, byte for byte.

/// @param mask  one byte a value, in their row-major order; shares no memory with them.
/// Errors: as for a matrix.
Result<MaskStats> compute_mask(const StridedView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask, ParallelFor& threads);

/// One mask for each target, each with a budget of its own.
///
/// @param configs  one for all targets, or one for each.
/// Errors: kInvalidArgument for the number of configs or for one of them, and those of
/// check_targets, before any mask is written; kOutOfMemory, with the masks in any state.
Status compute_masks(std::span<const StridedTarget> targets,
                     std::span<const DataNormConfig> configs, ParallelFor& threads);

/// One budget over all targets, as for matrices. Errors: as compute_masks.
Result<MaskStats> compute_global_masks(std::span<const StridedTarget> targets,
                                       const DataNormConfig& config, ParallelFor& threads);

}  // namespace winnow
