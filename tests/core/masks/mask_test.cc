// compute_mask and its relatives against the plain reference, at every SIMD level.
#include "winnow/core/mask.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "support/reference_mask.h"
#include "support/simd_levels.h"
#include "support/threads.h"
#include "support/values.h"
#include "winnow/core/global_selection.h"

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

INSTANTIATE_TEST_SUITE_P(EveryLevel, MaskTest, testing::every_level(), testing::level_name);

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
  for (uint64_t seed = 10000; seed < 10120; ++seed) {
    expect_reference(random_case(seed, 200000), seed);
    if (HasFatalFailure()) return;
  }
}

TEST_P(MaskTest, IsTheSameForAnyNumberOfThreads) {
  const MatrixShape shape{1100, 1000};  // above the size from which threads are used
  for (const Fill how : testing::kAllFills) {
    for (const BlockShape block : {BlockShape{1, 1}, BlockShape{1, 4}, BlockShape{8, 8}}) {
      Values values(DType::kF32, shape, shape.cols);
      testing::fill(values, shape, how, 1);
      const DataNormConfig config{.sparsity_level = 0.5,
                                  .sparse_block_shape = block,
                                  .zeros_per_block = {},
                                  .norm = Norm::kL1};
      const std::vector<uint8_t> expected = mask_of(values.view(), config);
      for (const size_t threads : {2, 3, 7}) {
        testing::ThreadsFor pool(threads);
        ASSERT_EQ(mask_of(values.view(), config, pool), expected) << static_cast<int>(how);
      }
    }
  }
}

std::vector<Values> random_matrices(uint64_t seed, bool mixed, std::mt19937_64& random) {
  std::vector<Values> matrices;
  const size_t count = 1 + random() % 6;
  for (size_t i = 0; i < count; ++i) {
    const MatrixShape shape{random() % 60, 1 + random() % 90};
    const DType dtype = mixed ? pick(testing::kPrunable, random) : DType::kF32;
    matrices.emplace_back(dtype, shape, shape.cols, random() % 8);
    testing::fill(matrices.back(), shape, pick(testing::kAllFills, random), seed + i);
  }
  return matrices;
}

std::vector<MatrixView> views_of(const std::vector<Values>& matrices) {
  std::vector<MatrixView> views;
  for (const Values& values : matrices) views.push_back(values.view());
  return views;
}

// Shows all matrices pass by pass, the last one first, then asks for the masks.
std::vector<std::vector<uint8_t>> masks_pass_by_pass(const std::vector<MatrixView>& views,
                                                     const DataNormConfig& config,
                                                     uint64_t max_bytes) {
  SerialFor serial;
  std::vector<MatrixInfo> infos;
  for (const MatrixView& view : views) infos.push_back({view.shape, view.dtype});
  Result<GlobalSelection> selection = GlobalSelection::create(infos, config, max_bytes);
  EXPECT_TRUE(selection.ok());
  int passes = 0;
  while (!selection->ready()) {
    for (size_t i = views.size(); i-- > 0;) {
      EXPECT_TRUE(selection->visit(i, views[i], serial).ok());
    }
    EXPECT_TRUE(selection->end_pass().ok());
    EXPECT_LE(++passes, 8);
  }
  std::vector<std::vector<uint8_t>> masks;
  for (size_t i = 0; i < views.size(); ++i) {
    masks.emplace_back(views[i].numel(), 7);
    EXPECT_TRUE(selection->write_mask(i, views[i], masks.back(), serial).ok());
  }
  return masks;
}

// The same whatever memory there is.
std::vector<std::vector<uint8_t>> masks_pass_by_pass(const std::vector<MatrixView>& views,
                                                     const DataNormConfig& config) {
  const auto masks = masks_pass_by_pass(views, config, UINT64_MAX);
  EXPECT_EQ(masks_pass_by_pass(views, config, GlobalSelection::kLeastBytes), masks);
  return masks;
}

TEST_P(MaskTest, SpendsOneBudgetOverSeveralMatricesAsTheReferenceDoes) {
  SerialFor serial;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const DataNormConfig config = random_case(seed, 100).config;
    const std::vector<Values> matrices = random_matrices(seed, seed % 2 == 0, random);
    const std::vector<MatrixView> views = views_of(matrices);
    const auto expected = reference::masks(views, config);

    std::vector<std::vector<uint8_t>> masks;
    std::vector<MaskTarget> targets;
    for (const MatrixView& view : views) masks.emplace_back(view.numel(), 7);
    for (size_t i = 0; i < views.size(); ++i) targets.push_back({views[i], masks[i]});
    ASSERT_TRUE(compute_global_masks(targets, config, serial).ok());
    ASSERT_EQ(masks, expected) << "seed " << seed;
    ASSERT_EQ(masks_pass_by_pass(views, config), expected) << "seed " << seed;
  }
}

// Every half once, in an order that is not theirs: all ties and all NaN are among them.
TEST_P(MaskTest, RanksAllHalvesAsTheReferenceDoes) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    std::vector<uint16_t> halves(65536);
    for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i * 40503);
    const MatrixView view = contiguous_view(halves.data(), dtype, {256, 256});
    for (const Norm norm : {Norm::kL1, Norm::kL2}) {
      for (const double level : {0.1, 0.5, 0.97, 0.999}) {
        for (const BlockShape block : {BlockShape{1, 1}, BlockShape{1, 4}}) {
          const DataNormConfig config{level, block, {}, norm};
          ASSERT_EQ(mask_of(view, config), reference::masks({view}, config)[0])
              << dtype_name(dtype) << " level " << level << " norm " << static_cast<int>(norm);
        }
      }
    }
  }
}

// A NaN of all ones has the bits of the keys' padding; with few NaN the bracket is open above, and
// the one-pass path has to tell them apart.
TEST_P(MaskTest, TiesNanOfEveryPayloadWhereTheThresholdIsNan) {
  const MatrixShape shape{64, 1000};
  for (const DType dtype : testing::kPrunable) {
    Values values(dtype, shape, shape.cols);
    testing::fill(values, shape, Fill::kNormal, 3);
    for (size_t i = 0; i < 192; ++i) {
      values.set_nan(i / 3, i % 3 * 333, i % 2 == 0 ? ~uint64_t{0} : 0);
    }
    const DataNormConfig config{.sparsity_level = 0.99778125, .sparse_block_shape = {1, 1}};
    ASSERT_EQ(mask_of(values.view(), config), reference::masks({values.view()}, config)[0])
        << dtype_name(dtype);
  }
}

// Sides may be larger than the matrix, up to the largest integer: "whole rows", whatever their
// size.
TEST_P(MaskTest, TakesSidesAboveThoseOfTheMatrixAsWholeRowsAndColumns) {
  const MatrixShape shape{37, 53};
  for (const uint64_t huge : {uint64_t{54}, uint64_t{INT64_MAX}, UINT64_MAX}) {
    const std::pair<BlockShape, BlockShape> sides[] = {
        {{1, huge}, {1, 53}}, {{huge, 1}, {37, 1}}, {{huge, 4}, {37, 4}}, {{huge, huge}, {37, 53}}};
    for (const auto& [large, exact] : sides) {
      for (const std::optional<uint64_t> zeros : {std::optional<uint64_t>(), {0}, {1}, {7}, {30}}) {
        Values values(DType::kF32, shape, shape.cols);
        testing::fill(values, shape, Fill::kSixteenLevels, 3);
        const DataNormConfig config{0.5, large, zeros, Norm::kL1};
        ASSERT_EQ(mask_of(values.view(), config),
                  mask_of(values.view(), {0.5, exact, zeros, Norm::kL1}))
            << large.rows << "x" << large.cols << " zeros " << zeros.value_or(UINT64_MAX);
      }
    }
  }
}

// Positions outside the matrix are dropped before a NaN that comes after them.
TEST_P(MaskTest, RanksWhatLiesOutsideOfLargeBlocksWithTheNan) {
  const MatrixShape shape{3, 4};
  for (const BlockShape block : {BlockShape{2, 6}, {3, 6}, {5, 7}, {3, 4}, {4, 2}, {1, 9}}) {
    for (uint64_t zeros = 0; zeros <= block.rows * block.cols; ++zeros) {
      for (uint64_t seed = 0; seed < 20; ++seed) {
        const Case c{shape, 0, 0, DType::kF32, Fill::kManyNans, {1.0, block, zeros, Norm::kL1}};
        expect_reference(c, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(MaskTest, KeepsTheLargestOfEachGroupUnderNm) {
  const float values[] = {4, 1, 3, 2, 1, 1, 1, 1, 5, 9};  // the tail has 2 of 4 values
  std::vector<uint8_t> mask =
      mask_of(contiguous_view(values, DType::kF32, {1, 10}), nm_config(2, 4));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 0, 1, 0, 0, 0, 1, 1, 0, 0}));
  mask = mask_of(contiguous_view(values, DType::kF32, {1, 10}), nm_config(3, 4));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 0, 1, 1, 0, 1, 1, 1, 0, 1}));
}

TEST(ComputeMask, RejectsWhatHasNoMeaningAndWritesNothing) {
  const float values[4] = {1, 2, 3, 4};
  const MatrixView view = contiguous_view(values, DType::kF32, {1, 4});
  const auto code_of = [&](const MatrixView& v, const DataNormConfig& config, size_t mask_size) {
    std::vector<uint8_t> mask(mask_size, 7);
    const Status status = compute_mask(v, config, mask).status();
    EXPECT_EQ(mask, std::vector<uint8_t>(mask_size, 7));
    return status.code();
  };
  EXPECT_EQ(code_of(view, {.sparsity_level = NAN}, 4), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(view, {.sparsity_level = INFINITY}, 4), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(view, {.sparse_block_shape = {0, 4}}, 4), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(view, {.zeros_per_block = 5}, 4), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(view, {}, 3), ErrorCode::kInvalidArgument);
  MatrixView integers = view;
  integers.dtype = DType::kI32;
  EXPECT_EQ(code_of(integers, {}, 4), ErrorCode::kInvalidArgument);
  MatrixView narrow = contiguous_view(values, DType::kF32, {2, 2});
  narrow.row_stride = 1;
  EXPECT_EQ(code_of(narrow, {}, 4), ErrorCode::kInvalidArgument);
}

TEST(GlobalSelection, KeepsAllWhereSelectedBlocksLoseNothing) {
  const std::vector<float> values(64 * 64, 1);
  const MatrixView view = contiguous_view(values.data(), DType::kF32, {64, 64});
  EXPECT_EQ(masks_pass_by_pass({view}, {0.5, {8, 8}, 0, Norm::kL1})[0],
            std::vector<uint8_t>(64 * 64, 1));
}

TEST(GlobalSelection, SaysHowMuchMemoryItNeedsAtLeast) {
  const Status status = GlobalSelection::create({}, {}, GlobalSelection::kLeastBytes - 1).status();
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "max_bytes: expected at least 65536, found 65535");
}

TEST(GlobalSelection, ReportsValuesThatChangeBetweenPasses) {
  SerialFor serial;
  const MatrixShape shape{500, 400};
  Result<GlobalSelection> selection =
      GlobalSelection::create({{shape, DType::kF32}}, {0.5, {1, 1}, {}, Norm::kL1});
  ASSERT_TRUE(selection.ok());
  Status status;
  for (int pass = 0; pass < 20 && status.ok() && !selection->ready(); ++pass) {
    Values values(DType::kF32, shape, shape.cols);
    testing::fill(values, shape, Fill::kNormal, static_cast<uint64_t>(pass));
    for (size_t c = 0; c < shape.cols * shape.rows; ++c) {
      values.set(c / shape.cols, c % shape.cols, pass % 2 == 0 ? 1.0 + c : 1e-30 * (1.0 + c));
    }
    ASSERT_TRUE(selection->visit(0, values.view(), serial).ok());
    status = selection->end_pass();
  }
  EXPECT_EQ(status.code(), ErrorCode::kInputChanged);
}

TEST(ComputeMask, TakesBlocksLargerThanAnyMatrix) {
  const float values[6] = {6, 5, 4, 3, 2, 1};
  const MatrixView view = contiguous_view(values, DType::kF32, {2, 3});
  const uint64_t huge = uint64_t{1} << 62;
  EXPECT_EQ(mask_of(view, {1.0, {huge, huge}, {}, Norm::kL1}), std::vector<uint8_t>(6, 0));
  EXPECT_EQ(mask_of(view, {1.0, {huge, huge}, 5, Norm::kL1}),
            (std::vector<uint8_t>{1, 0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace winnow
