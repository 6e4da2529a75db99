// compute_mask and its relatives against the plain reference, at every SIMD level.
#include "winnow/core/mask.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "support/reference_mask.h"
#include "support/threads.h"
#include "support/values.h"
#include "winnow/core/global_selection.h"
#include "winnow/kernels/simd_level.h"

namespace winnow {
namespace {

using testing::Fill;
using testing::Values;

std::vector<uint8_t> mask_of(const MatrixView& view, const DataNormConfig& config,
                             ParallelFor& threads) {
  std::vector<uint8_t> mask(view.numel(), 7);
  const Result<MaskStats> stats = compute_mask(view, config, mask, threads);
  EXPECT_TRUE(stats.ok()) << stats.status().message();
  if (!stats.ok()) return {};
  EXPECT_EQ(stats->blocks, block_count(view.shape, config.sparse_block_shape));
  EXPECT_EQ(stats->selected_blocks, blocks_to_drop(config.sparsity_level, stats->blocks));
  EXPECT_EQ(stats->dropped_values, static_cast<uint64_t>(std::count(mask.begin(), mask.end(), 0)));
  return mask;
}

std::vector<uint8_t> mask_of(const MatrixView& view, const DataNormConfig& config) {
  SerialFor serial;
  return mask_of(view, config, serial);
}

// Runs the test body once for each SIMD level of this machine.
class MaskTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  void SetUp() override { ASSERT_TRUE(set_simd_level(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(set_simd_level(available_simd_levels().front()).ok()); }
};

std::string level_name(const ::testing::TestParamInfo<SimdLevel>& info) {
  return std::string(simd_level_name(info.param));
}

INSTANTIATE_TEST_SUITE_P(EveryLevel, MaskTest,
                         ::testing::ValuesIn(available_simd_levels().begin(),
                                             available_simd_levels().end()),
                         level_name);

struct Case {
  MatrixShape shape;
  size_t padding;  // elements between rows
  size_t misalignment;
  DType dtype;
  Fill fill;
  DataNormConfig config;
};

std::string describe(const Case& c, uint64_t seed) {
  std::string text = "seed " + std::to_string(seed) + ": " + std::to_string(c.shape.rows) + "x" +
                     std::to_string(c.shape.cols) + " + " + std::to_string(c.padding) + " " +
                     std::string(dtype_name(c.dtype)) + " fill " +
                     std::to_string(static_cast<int>(c.fill)) + " block " +
                     std::to_string(c.config.sparse_block_shape.rows) + "x" +
                     std::to_string(c.config.sparse_block_shape.cols) + " level " +
                     std::to_string(c.config.sparsity_level) + " norm " +
                     std::to_string(static_cast<int>(c.config.norm));
  if (c.config.zeros_per_block) text += " zeros " + std::to_string(*c.config.zeros_per_block);
  return text;
}

template <typename T, size_t kSize>
const T& pick(const T (&choices)[kSize], std::mt19937_64& random) {
  return choices[random() % kSize];
}

Case random_case(uint64_t seed, size_t max_values) {
  std::mt19937_64 random(seed);
  Case c;
  const BlockShape blocks[] = {{1, 1}, {1, 4},  {1, 2}, {1, 8}, {8, 8}, {16, 1},  {2, 2},  {4, 1},
                               {2, 3}, {1, 16}, {3, 5}, {4, 4}, {1, 7}, {32, 32}, {1, 700}};
  const double levels[] = {0.1, 0.3, 0.5, 0.75, 0.9, 0.99, 1.0, 0.0, -0.5, 2.0};
  c.shape.cols = 1 + random() % 300;
  c.shape.rows = 1 + random() % std::max<size_t>(1, max_values / c.shape.cols);
  c.padding = random() % 3 == 0 ? random() % 20 : 0;
  c.misalignment = random() % 2 == 0 ? 0 : random() % 64;
  c.dtype = pick(testing::kPrunable, random);
  c.fill = pick(testing::kAllFills, random);
  c.config.sparse_block_shape = pick(blocks, random);
  c.config.sparsity_level = pick(levels, random);
  c.config.norm = random() % 2 == 0 ? Norm::kL1 : Norm::kL2;
  const uint64_t size = c.config.sparse_block_shape.rows * c.config.sparse_block_shape.cols;
  if (random() % 2 == 0) c.config.zeros_per_block = random() % (size + 1);
  return c;
}

void expect_reference(const Case& c, uint64_t seed) {
  Values values(c.dtype, c.shape, c.shape.cols + c.padding, c.misalignment);
  testing::fill(values, c.shape, c.fill, seed);
  ASSERT_EQ(mask_of(values.view(), c.config), reference::masks({values.view()}, c.config)[0])
      << describe(c, seed);
}

TEST_P(MaskTest, EqualsTheReferenceOnSmallMatrices) {
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    expect_reference(random_case(seed, 4000), seed);
    if (HasFatalFailure()) return;
  }
}

TEST_P(MaskTest, EqualsTheReferenceWhereTheSampleDecides) {
  for (uint64_t seed = 10000; seed < 10060; ++seed) {
    expect_reference(random_case(seed, 200000), seed);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace winnow
