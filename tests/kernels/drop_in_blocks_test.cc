// The kernel `drop_in_blocks` at every level and type, for blocks of all its paths and every number
// of them, flush against guard pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/value_kernels.h"
#include "support/simd_levels.h"

namespace winnow::kernels {
namespace {

using testing::Fill;
using Flush = GuardedMatrix::Flush;

constexpr uint8_t kUntouched = 7;

// Whether the scores of rank zeros - 1 and zeros are equal: no bound parts them.
template <typename Key>
bool ties_straddle(const MatrixView& view, const reference::Block& block, size_t zeros, Norm norm) {
  std::vector<Key> keys;
  for (size_t r = 0; r < block.rows; ++r) {
    for (size_t c = 0; c < block.cols; ++c) {
      const reference::Block value{0, block.row + r, block.col + c, 1, 1, 0};
      keys.push_back(key_ref<Key>(view.dtype == DType::kF64
                                      ? reference::block_mean<double>(view, value, norm)
                                      : reference::block_mean<float>(view, value, norm)));
    }
  }
  std::sort(keys.begin(), keys.end());
  return keys[zeros - 1] == keys[zeros];
}

// Runs the kernel on blocks of rows x cols, `count` side by side, every third of them kept.
template <typename Key>
void check_blocks(const ValueKernels<Key>& kernels, DType dtype, Norm norm, BlockShape block,
                  size_t count, size_t zeros, Fill fill, size_t misalignment = 0) {
  const Flush flush = count % 2 == 0 || misalignment != 0 ? Flush::kStart : Flush::kEnd;
  const size_t cols = count * block.cols, mask_stride = cols + count % 2;
  const MatrixShape shape{block.rows, cols};
  GuardedMatrix values(dtype, shape, cols + count % 3, fill, flush, misalignment);
  std::vector<uint64_t> keep((count + 63) / 64), unresolved(keep.size(), ~uint64_t{0});
  std::mt19937_64 random(count);
  for (uint64_t& word : keep) word = random() & random();
  const size_t mask_bytes = (block.rows - 1) * mask_stride + cols;
  testing::GuardedBuffer mask_memory(mask_bytes, flush);
  auto* mask = mask_memory.as<uint8_t>();
  std::fill_n(mask, mask_bytes, kUntouched);
  kernels.drop_in_blocks(values.run(block.cols), zeros, keep.data(), mask, mask_stride,
                         unresolved.data());

  const DataNormConfig config{1, block, zeros, norm};
  std::vector<uint8_t> expected(shape.numel(), 1);
  const auto blocks = reference::blocks_of(values.view(), 0, config);
  for (size_t b = 0; b < count; ++b) {
    const bool kept = keep[b / 64] >> (b % 64) & 1, open = unresolved[b / 64] >> (b % 64) & 1;
    ASSERT_TRUE(!open || (!kept && ties_straddle<Key>(values.view(), blocks[b], zeros, norm))) << b;
    if (!kept && !open) reference::drop_in_block(values.view(), blocks[b], config, expected);
  }
  for (size_t i = 0; i < mask_bytes; ++i) {
    const size_t r = i / mask_stride, c = i % mask_stride;
    ASSERT_EQ(mask[i], c < cols ? expected[r * cols + c] : kUntouched)
        << count << " blocks " << block.rows << "x" << block.cols << " zeros " << zeros << " "
        << dtype_name(dtype) << " norm " << static_cast<int>(norm) << " byte " << i;
  }
}

class TileTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  void check(BlockShape block, size_t count, size_t zeros, Fill fill, size_t misalignment = 0) {
    for_each_value_kernels(
        kernel_table(GetParam()), [&](DType dtype, Norm norm, const auto& kernels) {
          check_blocks(kernels, dtype, norm, block, count, zeros, fill, misalignment);
        });
  }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, TileTest, testing::every_level(), testing::level_name);

// Ranked in pairs (1x4), sorted (up to 64 keys) and searched (up to kMaxTile).
TEST_P(TileTest, DropsTheLowestKeysOfEveryBlock) {
  const BlockShape blocks[] = {{1, 4}, {1, 2},  {2, 1}, {4, 1},  {1, 8},  {3, 5},  {2, 4},
                               {8, 4}, {33, 1}, {8, 8}, {5, 13}, {16, 8}, {64, 8}, {1, 512}};
  for (const BlockShape block : blocks) {
    const size_t size = block.rows * block.cols;
    for (const size_t zeros : {size_t{1}, size / 2, size - 1}) {
      for (size_t count = 1; count < 70; count += 1 + count * size / 256) {
        const Fill fills[] = {Fill::kNormal, Fill::kSixteenLevels, Fill::kSpecials,
                              Fill::kManyNans};
        check(block, count, zeros, fills[count % std::size(fills)]);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(TileTest, ReadsValuesAtAnyAddress) {
  for (const BlockShape block : {BlockShape{1, 4}, BlockShape{4, 1}, BlockShape{3, 5}}) {
    for (size_t misalignment = 1; misalignment < 8; ++misalignment) {
      check(block, 35, 2, Fill::kNormal, misalignment);
    }
  }
}

// Denormal, uneven and half equal keys, where a straight line between counts guesses badly.
TEST_P(TileTest, FindsTheBoundWhereInterpolationGuessesBadly) {
  check({16, 8}, 9, 64, Fill::kDenormal);
  check({16, 32}, 9, 500, Fill::kRowScaled);
  check({16, 32}, 9, 256, Fill::kHalfZeros);
}

}  // namespace
}  // namespace winnow::kernels
