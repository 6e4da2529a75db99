// What BlockMatrix expects of its callers: the kernels below it check nothing.
#include "core/views/block_matrix.h"

#include <gtest/gtest.h>

#include <vector>

namespace winnow::core {
namespace {

BlockMatrix matrix_of(const std::vector<float>& values, MatrixShape shape, BlockShape block,
                      std::optional<uint64_t> zeros = std::nullopt) {
  return {contiguous_view(values.data(), DType::kF32, shape),
          {0.5, block, zeros, Norm::kL1},
          kernels::kernel_table(SimdLevel::kScalar)};
}

TEST(BlockMatrix, ClassifiesValuesInRowsOfUnclippedBlocks) {
  const std::vector<float> values(64);
  EXPECT_TRUE(matrix_of(values, {8, 8}, {1, 1}).can_classify_values());
  EXPECT_TRUE(matrix_of(values, {8, 8}, {1, 4}).can_classify_values());
  EXPECT_FALSE(matrix_of(values, {8, 8}, {1, 2}).can_classify_values());   // no kernel
  EXPECT_FALSE(matrix_of(values, {4, 10}, {1, 4}).can_classify_values());  // clipped
  EXPECT_FALSE(matrix_of(values, {8, 8}, {4, 1}).can_classify_values());
}

#ifdef NDEBUG
TEST(BlockMatrixDeathTest, AssertsPreconditions) { GTEST_SKIP() << "built without assertions"; }
#else
TEST(BlockMatrixDeathTest, AssertsPreconditions) {
  const std::vector<float> values(64);
  uint64_t keep = 0, kept = 0, unresolved = 0;
  uint32_t indices[68];
  int32_t keys[68];
  EXPECT_DEATH(matrix_of(values, {8, 8}, {1, 2})
                   .classify_values<int32_t>(0, 1, {0, 1, 2}, &keep, {indices, keys}, &kept),
               "can_classify_values");
  uint8_t mask[64];
  const core::Run run{0, 2, 0, 0, 1, 4};
  EXPECT_DEATH(
      matrix_of(values, {8, 8}, {1, 4}, 0).drop_in_blocks(run, &keep, mask, 8, &unresolved),
      "zeros_");
}
#endif

}  // namespace
}  // namespace winnow::core
