// A matrix that is too large to be held at once, cut into rectangles that are matrices of their
// own.
//
//   std::vector<MatrixPiece> pieces = matrix_pieces(shape, dtype, config.sparse_block_shape,
//   bytes);
//   // One GlobalSelection over all pieces gives them the mask of the whole matrix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// A rectangle of a matrix: whole blocks, but for those that the matrix itself clips.
struct MatrixPiece {
  size_t row, rows, col, cols;

  MatrixShape shape() const noexcept { return {rows, cols}; }
  bool operator==(const MatrixPiece&) const = default;
};

/// The smallest piece of a matrix: one block, clipped as the first one is.
MatrixShape smallest_piece(MatrixShape shape, BlockShape block) noexcept;

/// Pieces of at most `most_bytes`, or of one block if that is more: whole rows of blocks, or if one
/// of those is too large, parts of it. Their blocks in order are the blocks of the matrix in order.
/// Precondition: shape.numel() > 0.
std::vector<MatrixPiece> matrix_pieces(MatrixShape shape, DType dtype, BlockShape block,
                                       uint64_t most_bytes);

}  // namespace winnow
