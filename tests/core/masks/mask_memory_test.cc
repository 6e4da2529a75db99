// compute_mask between guard pages: values and mask both flush against one, at every tail.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "support/guarded_buffer.h"
#include "support/reference_mask.h"
#include "support/simd_levels.h"
#include "support/values.h"
#include "winnow/core/mask.h"

namespace winnow {
namespace {

using testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

class MaskMemoryTest : public ::testing::TestWithParam<SimdLevel> {};

INSTANTIATE_TEST_SUITE_P(EveryLevel, MaskMemoryTest, testing::every_level(), testing::level_name);

void check_mask_between_guards(DType dtype, MatrixShape shape, const DataNormConfig& config,
                               Flush flush) {
  const size_t bytes = shape.numel() * dtype_bits(dtype) / 8;
  testing::Values source(dtype, shape, shape.cols);
  testing::fill(source, shape, testing::Fill::kNormal, shape.numel());
  GuardedBuffer values(bytes, flush), mask(shape.numel(), flush);
  std::memcpy(values.as<char>(), source.view().data, bytes);
  const MatrixView view = contiguous_view(values.as<char>(), dtype, shape);
  const Result<MaskStats> stats = compute_mask(view, config, {mask.as<uint8_t>(), shape.numel()});
  ASSERT_TRUE(stats.ok());
  const std::vector<uint8_t> expected = reference::masks({view}, config)[0];
  ASSERT_EQ(std::vector<uint8_t>(mask.as<uint8_t>(), mask.as<uint8_t>() + shape.numel()), expected)
      << shape.rows << "x" << shape.cols << " " << dtype_name(dtype) << " block "
      << config.sparse_block_shape.rows << "x" << config.sparse_block_shape.cols;
}

TEST_P(MaskMemoryTest, MasksStayInsideTheirMemoryAtEveryTail) {
  ASSERT_TRUE(set_simd_level(GetParam()).ok());
  const BlockShape blocks[] = {{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 4}, {16, 1}, {8, 8}, {3, 5}};
  for (const DType dtype : testing::kPrunable) {
    for (const BlockShape block : blocks) {
      for (size_t cols = 1; cols < 150; cols += 1 + cols / 40) {
        const size_t rows = block.rows == 1 ? 1 + cols % 2 : block.rows + cols % 3;
        const Flush flush = cols % 2 == 0 ? Flush::kStart : Flush::kEnd;
        const uint64_t half = (block.rows * block.cols + 1) / 2;
        DataNormConfig config{.sparsity_level = 0.5, .sparse_block_shape = block};
        check_mask_between_guards(dtype, {rows, cols}, config, flush);
        config.zeros_per_block = half;
        check_mask_between_guards(dtype, {rows, cols}, config, flush);
        if (HasFatalFailure()) return;
      }
    }
  }
  ASSERT_TRUE(set_simd_level(available_simd_levels().front()).ok());
}

}  // namespace
}  // namespace winnow
