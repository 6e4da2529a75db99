#include "winnow/core/matrix_pieces.h"

#include <algorithm>

namespace winnow {

MatrixShape smallest_piece(MatrixShape shape, BlockShape block) noexcept {
  return {std::min<uint64_t>(block.rows, shape.rows), std::min<uint64_t>(block.cols, shape.cols)};
}

std::vector<MatrixPiece> matrix_pieces(MatrixShape shape, DType dtype, BlockShape block,
                                       uint64_t most_bytes) {
  const size_t most = most_bytes / (dtype_bits(dtype) / 8);
  const auto [high, wide] = smallest_piece(shape, block);
  size_t rows = high, cols = shape.cols;
  if (high <= most / cols) {
    rows = most / cols / high * high;
  } else {  // one row of blocks is too much: part of it
    cols = std::max(wide, most / high / wide * wide);
  }
  std::vector<MatrixPiece> pieces;
  for (size_t row = 0; row < shape.rows; row += rows) {
    for (size_t col = 0; col < shape.cols; col += cols) {
      pieces.push_back(
          {row, std::min(rows, shape.rows - row), col, std::min(cols, shape.cols - col)});
    }
  }
  return pieces;
}

}  // namespace winnow
