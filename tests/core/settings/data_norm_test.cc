#include "winnow/core/data_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace winnow {
namespace {

MatrixShape fold(std::vector<uint64_t> shape) {
  const Result<MatrixShape> folded = fold_shape(shape);
  EXPECT_TRUE(folded.ok());
  return folded.ok() ? *folded : MatrixShape{};
}

TEST(FoldShape, DropsDimensionsOfOneAndFoldsAllButTheLast) {
  EXPECT_EQ(fold({}), (MatrixShape{1, 1}));
  EXPECT_EQ(fold({1, 1}), (MatrixShape{1, 1}));
  EXPECT_EQ(fold({8}), (MatrixShape{1, 8}));
  EXPECT_EQ(fold({8, 1}), (MatrixShape{1, 8}));
  EXPECT_EQ(fold({2, 1, 1}), (MatrixShape{1, 2}));
  EXPECT_EQ(fold({4, 1, 5}), (MatrixShape{4, 5}));
  EXPECT_EQ(fold({2, 3, 4}), (MatrixShape{6, 4}));
}

TEST(FoldShape, HasNoElementsWhereADimensionIsZero) {
  EXPECT_EQ(fold({0, 4}).numel(), 0u);
  EXPECT_EQ(fold({uint64_t{1} << 63, 0, uint64_t{1} << 63}).numel(), 0u);
}

TEST(FoldShape, RefusesShapesThatDoNotFitIntoMemory) {
  const std::vector<uint64_t> shape = {uint64_t{1} << 32, uint64_t{1} << 31};
  EXPECT_EQ(fold_shape(shape).status().code(), ErrorCode::kShapeOverflow);
}

TEST(Validate, NamesTheFieldTheValueAndTheRange) {
  EXPECT_TRUE(validate({}).ok());
  const Status level = validate({.sparsity_level = NAN});
  EXPECT_EQ(level.message(), "sparsity_level: expected a finite number, found nan");
  const Status zeros = validate({.sparse_block_shape = {2, 3}, .zeros_per_block = 7});
  EXPECT_EQ(zeros.message(),
            "zeros_per_block: expected at most 6, the values of a block of 2x3, found 7");
  const Status block = validate({.sparse_block_shape = {0, 3}});
  EXPECT_EQ(block.message(), "sparse_block_shape: expected sides of at least 1, found 0x3");
}

TEST(BlocksToDrop, ClampsLevelsOutsideTheRange) {
  EXPECT_EQ(blocks_to_drop(-0.75, 4), 0u);
  EXPECT_EQ(blocks_to_drop(1.5, 4), 4u);
  EXPECT_EQ(blocks_to_drop(1e300, 4), 4u);
  EXPECT_EQ(blocks_to_drop(0.29, 50), 14u);  // 14.499999999999998, as in Python
}

TEST(NmConfig, KeepsNOfM) {
  const DataNormConfig config = nm_config(2, 4, Norm::kL2);
  EXPECT_EQ(config.sparsity_level, 1.0);
  EXPECT_EQ(config.sparse_block_shape, (BlockShape{1, 4}));
  EXPECT_EQ(config.zeros_per_block, 2u);
  EXPECT_EQ(config.norm, Norm::kL2);
}

}  // namespace
}  // namespace winnow
