#include "winnow/core/matrix_pieces.h"

#include <gtest/gtest.h>

#include <vector>

namespace winnow {
namespace {

// The numbers of the blocks of each piece one after the other are those of the matrix.
void expect_blocks_in_order(MatrixShape shape, BlockShape block,
                            const std::vector<MatrixPiece>& pieces) {
  const uint64_t in_row = block_count({1, shape.cols}, block);
  uint64_t expected = 0, values = 0;
  for (const MatrixPiece& piece : pieces) {
    values += piece.shape().numel();
    ASSERT_EQ(piece.row % block.rows, 0u);
    ASSERT_EQ(piece.col % block.cols, 0u);
    for (size_t r = 0; r < piece.rows; r += block.rows) {
      for (size_t c = 0; c < piece.cols; c += block.cols) {
        const uint64_t number =
            (piece.row + r) / block.rows * in_row + (piece.col + c) / block.cols;
        ASSERT_EQ(number, expected++);
      }
    }
  }
  EXPECT_EQ(expected, block_count(shape, block));
  EXPECT_EQ(values, shape.numel());
}

TEST(MatrixPieces, HaveTheBlocksOfTheMatrixInOrder) {
  for (const MatrixShape shape : {MatrixShape{1, 1}, {1, 100}, {100, 1}, {7, 13}, {64, 33}}) {
    for (const BlockShape block : {BlockShape{1, 1}, {1, 4}, {4, 1}, {3, 5}, {200, 2}, {2, 200}}) {
      for (const uint64_t bytes : {0, 4, 40, 400, 100000}) {
        const auto pieces = matrix_pieces(shape, DType::kF32, block, bytes);
        expect_blocks_in_order(shape, block, pieces);
        const uint64_t most = std::max<uint64_t>(bytes, 4 * smallest_piece(shape, block).numel());
        for (const MatrixPiece& piece : pieces) EXPECT_LE(4 * piece.shape().numel(), most);
      }
    }
  }
}

TEST(MatrixPieces, AreAsLargeAsTheyMayBe) {
  EXPECT_EQ(matrix_pieces({10, 8}, DType::kF32, {2, 4}, 4 * 8 * 5),
            (std::vector<MatrixPiece>{{0, 4, 0, 8}, {4, 4, 0, 8}, {8, 2, 0, 8}}));
  EXPECT_EQ(matrix_pieces({2, 10}, DType::kF64, {2, 2}, 8 * 2 * 5),
            (std::vector<MatrixPiece>{{0, 2, 0, 4}, {0, 2, 4, 4}, {0, 2, 8, 2}}));
}

}  // namespace
}  // namespace winnow
