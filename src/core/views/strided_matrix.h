// PRIVATE. Tensors that are not laid out in rows, as matrices that are read piece by piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/tasks/scratch.h"
#include "winnow/base/parallel_for.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_pieces.h"
#include "winnow/core/strided_view.h"

namespace winnow::core {

/// Pieces of at most a few MiB, or of one block if that is more.
std::vector<MatrixPiece> pieces_of(MatrixShape shape, DType dtype, BlockShape block);

/// A tensor folded into a matrix: columns with one stride, and rows wherever they stand.
/// The layout outlives it; it allocates nothing itself.
class StridedMatrix {
 public:
  explicit StridedMatrix(const StridedLayout& layout) noexcept;

  MatrixShape shape() const noexcept { return shape_; }

  /// Calls visit(first element, elements between neighbours, length, row, first column) for runs
  /// of one row each that cover a piece, in an order that is kind to caches.
  template <typename Visit>
  void for_each_run(const MatrixPiece& piece, const Visit& visit) const;

 private:
  int64_t row_offset(size_t row) const noexcept;

  const StridedLayout layout_;
  MatrixShape shape_;
  size_t row_dims_ = 0;  // the dimensions before this one are rows; those of size 1 do not matter
  int64_t row_stride_ = 0;  // of the innermost dimension of the rows
  int64_t col_stride_ = 1;
};

/// Copies a piece of the values to `buffer`; the result is valid until the buffer is used again.
MatrixView load_piece(const StridedView& values, const MatrixPiece& piece,
                      ScratchVector<uint64_t>& buffer, ParallelFor& threads);

template <typename Visit>
void StridedMatrix::for_each_run(const MatrixPiece& piece, const Visit& visit) const {
  // If neighbours in a column stand closer than those in a row, few columns at a time: their cache
  // lines then last until the next row.
  constexpr size_t kTileCols = 64;
  const bool by_columns = row_stride_ != 0 && std::abs(col_stride_) > std::abs(row_stride_);
  const size_t tile = by_columns ? kTileCols : piece.cols;
  for (size_t done = 0; done < piece.cols; done += tile) {
    const size_t col = piece.col + done, count = std::min(tile, piece.cols - done);
    for (size_t row = piece.row; row < piece.row + piece.rows; ++row) {
      const int64_t first = row_offset(row) + static_cast<int64_t>(col) * col_stride_;
      visit(first, col_stride_, count, row, col);
    }
  }
}

}  // namespace winnow::core
