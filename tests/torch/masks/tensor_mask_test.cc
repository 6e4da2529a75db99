// Masks of tensors against the reference, in place and by copy, for every layout and scope.
#include "winnow/torch/tensor_mask.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "torch/masks/mask_cases.h"
#include "torch/masks/mask_targets.h"

namespace winnow {
using namespace internal;

namespace {

using testing::describe;
using testing::random_config;
using testing::random_tensor;
using testing::reference_masks;

constexpr uint64_t kWhole = INT64_MAX;

at::Tensor new_mask(const at::Tensor& data) {
  return at::full(data.sizes(), 7, at::TensorOptions(data.device()).dtype(at::kChar));
}

std::vector<TensorMask> targets_of(const std::vector<at::Tensor>& data) {
  std::vector<TensorMask> targets;
  for (const at::Tensor& each : data) targets.push_back({each, new_mask(each)});
  return targets;
}

/// As of a tensor on another device.
at::Tensor mask_by_copy(const at::Tensor& data, const DataNormConfig& config) {
  const TensorMask target{data, new_mask(data)};
  write_masks_by_copy({&target, 1},
                      [&](std::span<const StridedTarget> on_cpu, ParallelFor& threads) {
                        return compute_masks(on_cpu, {&config, 1}, threads);
                      });
  return target.mask;
}

TEST(ComputeMask, EqualsTheReferenceForEveryLayoutInPlaceAndByCopy) {
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    std::mt19937_64 random(seed);
    const at::Tensor data = random_tensor(random);
    const DataNormConfig config = random_config(random);
    SCOPED_TRACE(c10::str("seed ", seed, ": ", describe(data, config)));
    const at::Tensor expected = reference_masks({data}, config)[0];
    const at::Tensor mask = compute_mask(data, config);
    ASSERT_TRUE(mask.is_contiguous());
    ASSERT_EQ(mask.scalar_type(), at::kChar);
    ASSERT_EQ(mask.sizes(), data.sizes());
    ASSERT_TRUE(at::equal(mask, expected));
    ASSERT_TRUE(at::equal(mask_by_copy(data, config), expected));
  }
}

TEST(ComputeMask, SpendsOneBudgetOverTensorsOfEveryLayoutInPlaceAndByCopy) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<at::Tensor> data(1 + random() % 5);
    for (at::Tensor& each : data) each = random_tensor(random);
    if (seed % 2 == 0) {
      for (at::Tensor& each : data) each = each.to(at::kFloat);
    }
    const DataNormConfig config = random_config(random);
    const std::vector<at::Tensor> expected = reference_masks(data, config);
    const std::vector<TensorMask> kernel = targets_of(data), copied = targets_of(data);
    compute_global_masks_out(kernel, config);
    write_masks_by_copy(copied, [&](std::span<const StridedTarget> on_cpu, ParallelFor& threads) {
      return compute_global_masks(on_cpu, config, threads).status();
    });
    for (size_t i = 0; i < data.size(); ++i) {
      SCOPED_TRACE(c10::str("seed ", seed, " tensor ", i, ": ", describe(data[i], config)));
      ASSERT_TRUE(at::equal(kernel[i].mask, expected[i]));
      ASSERT_TRUE(at::equal(copied[i].mask, expected[i]));
    }
  }
}

TEST(ComputeMask, GivesEachTensorItsOwnShareOutsideTheGlobalScope) {
  std::mt19937_64 random(5);
  std::vector<at::Tensor> data(40);
  for (at::Tensor& each : data) each = random_tensor(random);
  const DataNormConfig config{.sparsity_level = 0.5};
  const std::vector<TensorMask> targets = targets_of(data);
  compute_masks_out(targets, config);
  for (const TensorMask& target : targets) {
    ASSERT_TRUE(at::equal(target.mask, compute_mask(target.data, config)));
  }
  compute_masks_out({}, config);
  compute_global_masks_out({}, config);
}

// Tensors of more than one piece of 4 MiB, [1300, 1003] or about as many values.
std::vector<std::pair<std::string, at::Tensor>> large_layouts(at::ScalarType type) {
  std::mt19937_64 random(3);
  const at::Tensor values = at::randn({1003, 1300}).to(type);
  const at::Tensor levels = (at::randn({1300, 2006}) * 3).round().to(type);
  return {{"transposed", values.t()},
          {"every other column", levels.slice(1, 0, 2006, 2)},
          {"rows with gaps", levels.narrow(1, 500, 1003)},
          {"every third value", at::randn({3 * 1303900}).to(type).slice(0, 1, 3911700, 3)},
          {"one row many times", values[0].expand({1100, 1300})},
          {"channels last", at::randn({33, 97, 20, 21}).to(type).permute({0, 3, 1, 2})},
          {"short rows", at::randn({9, 140000}).to(type).t()}};
}

std::vector<DataNormConfig> large_configs(bool thorough) {
  std::vector<DataNormConfig> configs;
  const BlockShape blocks[] = {{1, 1}, {1, 4}, {16, 30}, {kWhole, 3}, {1, kWhole}, {700, 700}};
  for (const BlockShape block : blocks) configs.push_back({0.4, block, {}, Norm::kL1});
  configs.push_back({0.4, {1, 4}, 1, Norm::kL2});
  if (thorough) configs.push_back({0.4, {kWhole, 3}, 5, Norm::kL1});
  return configs;
}

TEST(ComputeMask, ReadsLargeTensorsPieceByPieceAsItReadsContiguousCopies) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const auto& [name, data] : large_layouts(type)) {
      const at::Tensor copy = data.contiguous();
      if (type == at::kDouble && name != "transposed") continue;
      for (const DataNormConfig& config : large_configs(name == "transposed")) {
        ASSERT_TRUE(at::equal(compute_mask(data, config), compute_mask(copy, config)))
            << name << " " << describe(data, config);
      }
    }
  }
}

TEST(ComputeMask, SpendsOneBudgetOverPiecesAsOverContiguousCopies) {
  std::vector<at::Tensor> data, copies;
  for (const at::ScalarType type : {at::kFloat, at::kHalf}) {
    for (const auto& [name, each] : large_layouts(type)) data.push_back(each);
    data.push_back(at::randn({300, 77}).to(type));
  }
  for (const at::Tensor& each : data) copies.push_back(each.contiguous());
  for (const BlockShape block : {BlockShape{1, 4}, {kWhole, 1}, {5, 3}}) {
    const DataNormConfig config{.sparsity_level = 0.3, .sparse_block_shape = block};
    const std::vector<TensorMask> pieced = targets_of(data), whole = targets_of(copies);
    compute_global_masks_out(pieced, config);
    compute_global_masks_out(whole, config);
    for (size_t i = 0; i < data.size(); ++i) {
      ASSERT_TRUE(at::equal(pieced[i].mask, whole[i].mask)) << i << describe(data[i], config);
    }
  }
}

TEST(ComputeMask, IsTheSameForAnyNumberOfThreads) {
  std::vector<at::Tensor> data = {at::randn({1100, 1200}), (at::randn({1100, 1200}) * 2).round()};
  for (const auto& [name, each] : large_layouts(at::kFloat)) data.push_back(each);
  for (const BlockShape block : {BlockShape{1, 1}, {1, 4}, {8, 8}}) {
    const DataNormConfig config{.sparsity_level = 0.5, .sparse_block_shape = block};
    std::vector<std::vector<at::Tensor>> masks;
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      masks.emplace_back();
      for (const at::Tensor& each : data) masks.back().push_back(compute_mask(each, config));
    }
    for (size_t i = 0; i < data.size(); ++i) {
      ASSERT_TRUE(at::equal(masks[0][i], masks[1][i])) << i << describe(data[i], config);
    }
  }
}

TEST(ComputeMask, TakesTheLargestSideAsTheWholeDimension) {
  std::mt19937_64 random(1);
  const at::Tensor data = testing::random_values({23, 31}, at::kFloat, random);
  const std::pair<BlockShape, BlockShape> sides[] = {{{1, kWhole}, {1, 31}},
                                                     {{kWhole, 1}, {23, 1}},
                                                     {{kWhole, 4}, {23, 4}},
                                                     {{kWhole, kWhole}, {23, 31}},
                                                     {{1, UINT64_MAX}, {1, 31}}};
  for (const auto& [large, exact] : sides) {
    for (const std::optional<uint64_t> zeros : {std::optional<uint64_t>(), {0}, {1}, {20}}) {
      for (const double level : {0.5, 1.0}) {
        const DataNormConfig config{level, large, zeros, Norm::kL1};
        const at::Tensor expected = compute_mask(data, {level, exact, zeros, Norm::kL1});
        EXPECT_TRUE(at::equal(compute_mask(data, config), expected)) << describe(data, config);
        EXPECT_TRUE(at::equal(mask_by_copy(data, config), expected)) << describe(data, config);
      }
    }
  }
}

// Positions to the right of a matrix that is narrower than its blocks rank among the NaN.
TEST(ComputeMask, RanksPositionsOutsideWithTheNanInPlaceAndByCopy) {
  const float nan = NAN;
  const at::Tensor data = at::tensor({2.f, nan, nan, nan, nan, 1.f, nan, 3.f, nan}).view({3, 3});
  for (const BlockShape block : {BlockShape{3, 4}, {2, 5}, {4, 7}, {3, 3}, {1, 5}}) {
    for (uint64_t zeros = 0; zeros <= block.rows * block.cols; ++zeros) {
      const DataNormConfig config{1.0, block, zeros, Norm::kL1};
      const at::Tensor expected = reference_masks({data}, config)[0];
      EXPECT_TRUE(at::equal(compute_mask(data, config), expected)) << describe(data, config);
      EXPECT_TRUE(at::equal(mask_by_copy(data, config), expected)) << describe(data, config);
    }
  }
  const DataNormConfig huge{1.0, {3, kWhole}, 8, Norm::kL1};  // the product passes 64 bits
  const at::Tensor expected = at::tensor({0, 0, 0, 1, 1, 0, 1, 0, 1}).view({3, 3}).to(at::kChar);
  EXPECT_TRUE(at::equal(compute_mask(data, huge), expected)) << compute_mask(data, huge);
  EXPECT_TRUE(at::equal(mask_by_copy(data, huge), expected)) << mask_by_copy(data, huge);
}

TEST(ComputeMask, GivesMetaTensorsAMetaMask) {
  const at::Tensor data = at::empty({6, 9}, at::TensorOptions("meta").dtype(at::kHalf));
  for (const std::optional<uint64_t> zeros : {std::optional<uint64_t>(), {2}}) {
    const at::Tensor mask = compute_mask(data.t(), {0.5, {2, 4}, zeros, Norm::kL2});
    EXPECT_TRUE(mask.is_meta());
    EXPECT_EQ(mask.scalar_type(), at::kChar);
    EXPECT_EQ(mask.sizes(), at::IntArrayRef({9, 6}));
  }
}

TEST(ComputeMask, ReadsTensorsOfZerosWithoutMemory) {
  const at::Tensor zeros = at::_efficientzerotensor({5, 8}, at::kFloat);
  EXPECT_TRUE(at::equal(compute_mask(zeros, {}), compute_mask(at::zeros({5, 8}), {})));
}

}  // namespace
}  // namespace winnow
