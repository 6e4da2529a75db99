// Which values are dropped: the settings of upstream's DataNormSparsifier, as plain data.
#pragma once

#include <cstdint>
#include <optional>

#include "winnow/base/norm.h"
#include "winnow/base/status.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// Height and width of a block, in elements, each at least 1. Blocks are anchored at element (0,
/// 0); those at the right and lower edge are clipped.
struct BlockShape {
  uint64_t rows = 1;
  uint64_t cols = 4;

  bool operator==(const BlockShape&) const = default;
};

/// The rule by which values are dropped, for a matrix of H x W values and blocks of bh x bw:
///
///     blocks = ceil(H / bh) * ceil(W / bw), numbered row-major
///     score(block) = sum of its values' scores, added in row-major order / their number
///     the round_half_even(sparsity_level * blocks) blocks with the lowest scores are selected
///     in a selected block, the zeros_per_block values with the lowest scores are dropped
///
/// Ties go to the lower index; NaN ranks above every number, and all NaN are equal. In a clipped
/// block the positions outside the matrix rank as NaN and are passed over when dropped.
/// Source: torch.ao.pruning DataNormSparsifier.update_mask.
struct DataNormConfig {
  /// Share of the blocks that are selected. 0 and less select none, 1 and more all; must be finite.
  /// Differs from torch.ao: there a level between -1 and 0 selects from the end.
  double sparsity_level = 0.5;
  BlockShape sparse_block_shape = {};
  /// How many values of a selected block are dropped, 0 to bh * bw; unset: all of them.
  std::optional<uint64_t> zeros_per_block = std::nullopt;
  Norm norm = Norm::kL1;

  bool operator==(const DataNormConfig&) const = default;
};

/// N:M sparsity: of every `m` consecutive values along a row the `n` largest are **kept**. A tail
/// of v < m values drops min(m - n, v). This is the pattern 1 x m with m - n zeros at level 1.
/// Precondition: n <= m.
DataNormConfig nm_config(uint64_t n, uint64_t m, Norm norm = Norm::kL1);

/// Ok, or kInvalidArgument naming the field, its value and its range.
Status validate(const DataNormConfig& config);

/// How many blocks cover the matrix; 0 for an empty one.
uint64_t block_count(MatrixShape shape, BlockShape block) noexcept;

/// round_half_even(level * blocks) on the double product, clamped to [0, blocks].
/// Precondition: level is finite.
uint64_t blocks_to_drop(double level, uint64_t blocks) noexcept;

}  // namespace winnow
