// PRIVATE. A matrix as a row of numbered blocks: where each stands, and its score as a key.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"

namespace winnow::core {

/// Blocks that stand side by side, all clipped alike.
struct Run {
  size_t first_block;  ///< number in the matrix
  size_t count;
  size_t row, col;                ///< element (0, 0) of the first block
  size_t block_rows, block_cols;  ///< after clipping
};

/// Blocks that stand side by side; the last one may be clipped at the right edge.
struct Strip {
  size_t first_block;
  size_t count;
  size_t row, col;     ///< element (0, 0) of the first block
  size_t rows, width;  ///< of all blocks together, after clipping
};

/// The settings and geometry of one matrix. Cheap to copy; reads the caller's values.
class BlockMatrix {
 public:
  /// Preconditions: a valid config, a prunable dtype.
  BlockMatrix(const MatrixView& values, const DataNormConfig& config,
              const kernels::KernelTable& table);

  size_t blocks() const noexcept { return blocks_; }
  size_t cols() const noexcept { return cols_; }
  const MatrixView& values() const noexcept { return values_; }
  Norm norm() const noexcept { return norm_; }

  /// Width of a block before it is clipped at the edge.
  uint64_t block_cols() const noexcept { return block_.cols; }

  /// True if a selected block loses all its values.
  bool drops_whole_blocks() const noexcept { return whole_; }
  uint64_t zeros_per_block() const noexcept { return zeros_; }

  bool is_clipped(const Run& run) const noexcept {
    return run.block_rows != block_.rows || run.block_cols != block_.cols;
  }

  /// Where the elements of a run stand, for the kernels.
  kernels::BlockRun elements(const Run& run) const noexcept;

  /// How many of the `most` blocks from `first` on to take at once: whole rows of blocks if
  /// several fit, else up to the end of the row. The mask's rows are then written in long pieces.
  size_t piece_from(size_t first, size_t most) const noexcept {
    const size_t in_row = grid_cols_ - first % grid_cols_;
    return most <= in_row ? most : in_row + (most - in_row) / grid_cols_ * grid_cols_;
  }

  /// Where the first mask byte of a block stands.
  size_t mask_offset(size_t block) const noexcept {
    return block / grid_cols_ * block_.rows * cols_ + block % grid_cols_ * block_.cols;
  }

  /// Begins to fetch the first values of a block.
  void prefetch(size_t block) const noexcept {
    const size_t row = block / grid_cols_ * block_.rows, col = block % grid_cols_ * block_.cols;
    __builtin_prefetch(element_at(row, col));
  }

  /// Calls visit(strip) for blocks [first, first + count) in their order, at most `limit` at once.
  template <typename Visit>
  void for_each_strip(size_t first, size_t count, size_t limit, const Visit& visit) const {
    if (count == 0) return;
    size_t block_col = first % grid_cols_;
    size_t row = first / grid_cols_ * block_.rows;
    for (const size_t end = first + count; first < end;) {
      const size_t here = std::min({end - first, limit, grid_cols_ - block_col});
      const size_t col = block_col * block_.cols;
      visit(Strip{first, here, row, col, std::min<uint64_t>(block_.rows, rows_ - row),
                  std::min<uint64_t>(here * block_.cols, cols_ - col)});
      first += here;
      block_col += here;
      if (block_col < grid_cols_) continue;
      block_col = 0;
      row += block_.rows;
    }
  }

  /// Calls visit(run) likewise.
  template <typename Visit>
  void for_each_run(size_t first, size_t count, size_t limit, const Visit& visit) const {
    for_each_strip(first, count, limit, [&](const Strip& strip) {
      const size_t whole = strip.width / block_.cols;
      const size_t rest = strip.width % block_.cols;
      const size_t cols = block_.cols;
      if (whole > 0) visit(Run{strip.first_block, whole, strip.row, strip.col, strip.rows, cols});
      if (rest == 0) return;
      visit(
          Run{strip.first_block + whole, 1, strip.row, strip.col + whole * cols, strip.rows, rest});
    });
  }

  /// keys[i] = key of block first + i, for i in [0, count).
  void fill_keys(size_t first, size_t count, int32_t* keys) const;

  /// As above; keys of 32-bit scores become those of the same numbers as F64.
  void fill_keys(size_t first, size_t count, int64_t* keys) const;

  /// True if blocks of one row follow each other unclipped, in a width that classify_values takes.
  /// The mask bytes of each block then follow each other too.
  bool can_classify_values() const noexcept {
    return rows_ <= 1 && block_.rows == 1 && cols_ % block_.cols == 0 &&
           kernels::can_classify_values(block_.cols);
  }

  /// True if the keys of this matrix alone would have the type Key.
  template <typename Key>
  bool has_keys_of() const noexcept {
    return (values_.dtype == DType::kF64) == (sizeof(Key) == 8);
  }

  /// ValueKernels::classify_values from block `first` on. Preconditions: can_classify_values(), and
  /// has_keys_of<Key>() for the Key of the bracket.
  template <typename Key>
  size_t classify_values(size_t first, size_t words, const kernels::Bracket<Key>& bracket,
                         uint64_t* keep, const kernels::CandidateSink<Key>& candidates,
                         uint64_t* kept) const {
    assert(can_classify_values() && has_keys_of<Key>());
    return value_kernels<Key>().classify_values(element_at(0, first * block_.cols), block_.cols,
                                                words, bracket, keep, candidates, kept);
  }

  /// Mask bytes of a run through the kernel; see ValueKernels::drop_in_blocks. Precondition: blocks
  /// lose a part of their values, and have at most kMaxTile.
  void drop_in_blocks(const Run& run, const uint64_t* keep, uint8_t* mask, size_t mask_stride,
                      uint64_t* unresolved) const;

  /// The key of one value of this matrix: flat element (row, col).
  int64_t value_key(size_t row, size_t col) const noexcept;

 private:
  template <typename Key>
  const kernels::ValueKernels<Key>& value_kernels() const noexcept;
  void trim_block() noexcept;
  const void* element_at(size_t row, size_t col) const noexcept;

  MatrixView values_;
  BlockShape block_;
  Norm norm_;
  bool whole_;
  uint64_t zeros_;
  const kernels::KernelTable* table_;
  size_t rows_, cols_;  // of the matrix as it is walked: flattened if blocks do not notice
  size_t grid_cols_ = 0;
  size_t blocks_ = 0;
};

template <>
const kernels::ValueKernels<int32_t>& BlockMatrix::value_kernels() const noexcept;
template <>
const kernels::ValueKernels<int64_t>& BlockMatrix::value_kernels() const noexcept;

}  // namespace winnow::core
