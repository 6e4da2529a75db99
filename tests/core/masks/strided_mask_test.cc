// Masks of tensors of any layout, against the reference on contiguous copies of them.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "support/peak_memory.h"
#include "support/reference_mask.h"
#include "support/threads.h"
#include "winnow/core/mask.h"
#include "winnow/core/values.h"

namespace winnow {
namespace {

using Numbers = std::vector<int64_t>;

/// A tensor in memory of its own, element by element.
struct Tensor {
  Numbers sizes, strides;
  std::vector<char> memory;
  int64_t first = 0;  // element (0, 0, ...)
  DType dtype = DType::kF32;

  size_t itemsize() const { return dtype_bits(dtype) / 8; }
  StridedLayout layout() const { return {sizes, strides}; }
  StridedView view() const {
    return {memory.data() + first * static_cast<int64_t>(itemsize()), dtype, layout()};
  }
  char* at(int64_t flat) {
    int64_t place = first;
    for (size_t d = sizes.size(); d-- > 0; flat /= sizes[d]) place += flat % sizes[d] * strides[d];
    return memory.data() + place * static_cast<int64_t>(itemsize());
  }
  std::vector<char> contiguous() {
    std::vector<char> copy;
    for (int64_t i = 0; i < layout().numel(); ++i)
      copy.insert(copy.end(), at(i), at(i) + itemsize());
    return copy;
  }
};

/// Dimensions in a random order of memory, with room between them, some turned or repeated.
Tensor random_tensor(const Numbers& sizes, DType dtype, std::mt19937_64& random) {
  Tensor tensor{sizes, Numbers(sizes.size()), {}, 0, dtype};
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  int64_t reach = 1;
  for (const size_t d : order) {
    tensor.strides[d] = reach + static_cast<int64_t>(random() % 3 == 0 ? random() % 4 : 0);
    reach = tensor.strides[d] * std::max<int64_t>(sizes[d], 1);
    if (random() % 6 == 0 && sizes[d] > 0) {
      tensor.first += tensor.strides[d] * (sizes[d] - 1);
      tensor.strides[d] = -tensor.strides[d];
    } else if (random() % 8 == 0) {
      tensor.strides[d] = 0;
    }
  }
  tensor.memory.resize(static_cast<size_t>(reach) * tensor.itemsize());
  for (size_t i = 0; i < static_cast<size_t>(reach); ++i) {
    const double value = std::round(std::normal_distribution<double>(0, 3)(random)) / 2;
    const auto single = static_cast<float>(value);
    const auto brain = static_cast<uint16_t>(std::bit_cast<uint32_t>(single) >> 16);
    const void* source = dtype == DType::kF64   ? static_cast<const void*>(&value)
                         : dtype == DType::kF32 ? static_cast<const void*>(&single)
                                                : &brain;
    std::memcpy(tensor.memory.data() + i * tensor.itemsize(), source, tensor.itemsize());
  }
  return tensor;
}

Numbers random_sizes(std::mt19937_64& random) {
  Numbers sizes(random() % 5);
  int64_t room = 2000;
  for (int64_t& size : sizes) {
    size = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(std::min<int64_t>(room, 40)));
    if (random() % 5 == 0) size = 1;
    room = std::max<int64_t>(1, room / size);
  }
  if (!sizes.empty() && random() % 30 == 0) sizes[0] = 0;
  return sizes;
}

DataNormConfig random_config(std::mt19937_64& random) {
  const BlockShape blocks[] = {{1, 1}, {1, 4}, {4, 1}, {3, 5}, {8, 8}, {1, 100}, {INT64_MAX, 2}};
  DataNormConfig config{.sparsity_level = static_cast<double>(random() % 11) / 10,
                        .sparse_block_shape = blocks[random() % std::size(blocks)],
                        .norm = random() % 2 == 0 ? Norm::kL1 : Norm::kL2};
  if (random() % 3 == 0) config.zeros_per_block = random() % 3;
  if (config.sparse_block_shape.cols == 1) config.zeros_per_block.reset();
  return config;
}

constexpr DType kTypes[] = {DType::kF32, DType::kF64, DType::kBF16};

MatrixView matrix_of(const std::vector<char>& copy, const Tensor& tensor) {
  return contiguous_view(copy.data(), tensor.dtype, matrix_shape(tensor.layout()));
}

DataNormConfig clipped(DataNormConfig config) {  // the reference walks every position of a block
  config.sparse_block_shape.rows = std::min<uint64_t>(config.sparse_block_shape.rows, 2000);
  return config;
}

TEST(StridedMask, EqualsTheReferenceForEveryLayout) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    std::mt19937_64 random(seed);
    Tensor tensor = random_tensor(random_sizes(random), kTypes[random() % 3], random);
    const DataNormConfig config = random_config(random);
    std::vector<uint8_t> mask(static_cast<size_t>(tensor.layout().numel()), 7);
    SerialFor serial;
    const Result<MaskStats> stats = compute_mask(tensor.view(), config, mask, serial);
    ASSERT_TRUE(stats.ok()) << seed << stats.status().message();
    const std::vector<char> copy = tensor.contiguous();
    ASSERT_EQ(mask, reference::masks({matrix_of(copy, tensor)}, clipped(config))[0]) << seed;
    ASSERT_EQ(stats->dropped_values, std::ranges::count(mask, 0)) << seed;
  }
}

TEST(StridedMask, SpendsOneBudgetOverTensorsOfEveryLayout) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<Tensor> tensors;
    std::vector<std::vector<char>> copies;
    std::vector<std::vector<uint8_t>> masks;
    std::vector<Numbers> strides;
    for (size_t i = 0; i < 1 + random() % 4; ++i) {
      tensors.push_back(random_tensor(random_sizes(random), kTypes[random() % 3], random));
      masks.emplace_back(static_cast<size_t>(tensors[i].layout().numel()), 7);
    }
    std::vector<StridedTarget> targets;
    std::vector<MatrixView> matrices;
    for (size_t i = 0; i < tensors.size(); ++i) {
      int64_t stride = 1;
      strides.emplace_back(tensors[i].sizes.size());
      for (size_t d = strides[i].size(); d-- > 0; stride *= tensors[i].sizes[d]) {
        strides[i][d] = stride;
      }
      copies.push_back(tensors[i].contiguous());
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      targets.push_back({tensors[i].view(), {masks[i].data(), {tensors[i].sizes, strides[i]}}});
      matrices.push_back(matrix_of(copies[i], tensors[i]));
    }
    const DataNormConfig config = random_config(random);
    testing::ThreadsFor threads(4);
    ASSERT_TRUE(compute_global_masks(targets, config, threads).ok());
    ASSERT_EQ(masks, reference::masks(matrices, clipped(config))) << seed;
  }
}

/// More than one piece of 4 MiB each.
std::vector<std::pair<std::string, Tensor>> large_tensors() {
  std::mt19937_64 random(3);
  const auto make = [&](Numbers sizes, Numbers strides) {
    Tensor tensor = random_tensor({2'620'000}, DType::kF32, random);
    tensor.first = 0;
    tensor.sizes = std::move(sizes);
    tensor.strides = std::move(strides);
    return tensor;
  };
  return {{"transposed", make({1300, 903}, {1, 1300})},
          {"every other column", make({1300, 903}, {2006, 2})},
          {"one row of every other value", make({1'300'000}, {2})},
          {"one row many times", make({900, 1300}, {0, 1})},
          {"short rows", make({130'000, 9}, {1, 130'000})},
          {"four dimensions", make({33, 20, 89, 19}, {40740, 1, 420, 20})}};
}

TEST(StridedMask, ReadsLargeTensorsPieceByPieceAsItReadsContiguousCopies) {
  const BlockShape blocks[] = {{1, 4}, {16, 30}, {INT64_MAX, 3}, {1, INT64_MAX}, {700, 700}};
  testing::ThreadsFor threads(3);
  for (auto& [name, tensor] : large_tensors()) {
    const std::vector<char> copy = tensor.contiguous();
    std::vector<uint8_t> mask(copy.size() / 4), expected(copy.size() / 4);
    for (const BlockShape block : blocks) {
      const DataNormConfig config{.sparsity_level = 0.4, .sparse_block_shape = block};
      ASSERT_TRUE(compute_mask(tensor.view(), config, mask, threads).ok());
      ASSERT_TRUE(compute_mask(matrix_of(copy, tensor), config, expected, threads).ok());
      ASSERT_EQ(mask, expected) << name << " " << block.rows << "x" << block.cols;
    }
  }
}

TEST(StridedMask, NeverCopiesLargeTensorsWhole) {
  constexpr int64_t kSide = 4000, kBytes = kSide * kSide * 4;  // 64 MB
  const std::vector<float> values(kSide * kSide, 1.5F);
  std::vector<uint8_t> mask(kSide * kSide, 7);
  const auto share = [&](const Numbers& sizes, const Numbers& strides, BlockShape block) {
    const StridedView view{values.data(), DType::kF32, {sizes, strides}};
    const auto bytes = std::span(mask).first(static_cast<size_t>(view.layout.numel()));
    SerialFor serial;
    return testing::peak_share(kBytes, [&] {
      ASSERT_TRUE(compute_mask(view, {.sparse_block_shape = block}, bytes, serial).ok());
    });
  };
  const Numbers transposed = {1, kSide}, square = {kSide, kSide};
  EXPECT_LT(share(square, {kSide, 1}, {1, 4}), 0.25);  // the search's own
  EXPECT_LT(share(square, transposed, {1, 4}), 0.25);
  EXPECT_LT(share(square, transposed, {INT64_MAX, 1}), 0.25);
  EXPECT_LT(share({kSide * kSide / 2}, {2}, {1, 1}), 0.25);
}

TEST(StridedMask, RefusesAMaskOfAnotherSizeInEveryLayout) {
  const Numbers sizes = {4, 6}, rows = {6, 1}, columns = {1, 4};
  const float values[24] = {};
  std::vector<uint8_t> mask(23, 7);
  SerialFor serial;
  for (const Numbers& strides : {rows, columns}) {
    const StridedView view{values, DType::kF32, {sizes, strides}};
    const Status status = compute_mask(view, {}, mask, serial).status();
    EXPECT_EQ(status.message(), "mask: expected 24 bytes, found 23");
    const StridedView integers{values, DType::kI32, {sizes, strides}};
    EXPECT_EQ(compute_mask(integers, {}, mask, serial).status().message(),
              "data: expected dtype F32, F64, F16 or BF16, found I32");
  }
  EXPECT_EQ(mask, std::vector<uint8_t>(23, 7));
}

TEST(StridedMask, WritesNothingWhereOneTargetIsRefused) {
  const Numbers sizes = {2}, strides = {1};
  const float values[2] = {1, 2};
  uint8_t masks[2][2] = {{7, 7}, {7, 7}};
  SerialFor serial;
  const StridedView view{values, DType::kF32, {sizes, strides}};
  std::vector<StridedTarget> targets = {{view, {masks[0], {sizes, strides}}},
                                        {view, {masks[1], {sizes, strides}}}};
  const DataNormConfig good{}, bad{.sparsity_level = NAN};
  EXPECT_FALSE(compute_masks(targets, std::vector{good, bad}, serial).ok());
  const Status three = compute_masks(targets, std::vector(3, good), serial);
  EXPECT_EQ(three.message(), "configs: expected 1 or 2, found 3");
  targets[1].values.dtype = DType::kI8;
  EXPECT_FALSE(compute_masks(targets, std::vector{good}, serial).ok());
  EXPECT_EQ(masks[0][0], 7);
}

TEST(ApplyMask, ZeroesDroppedValuesOfEveryLayoutAndNoOthers) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 random(seed);
    Tensor tensor = random_tensor(random_sizes(random), kTypes[random() % 3], random);
    if (!tensor.layout().has_distinct_places()) continue;
    std::vector<uint8_t> mask(static_cast<size_t>(tensor.layout().numel()));
    for (uint8_t& keep : mask) keep = random() % 2 == 0 ? 1 : 0;
    Tensor expected = tensor;
    for (size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] == 0) std::memset(expected.at(static_cast<int64_t>(i)), 0, tensor.itemsize());
    }
    apply_mask(tensor.memory.data() + tensor.first * static_cast<int64_t>(tensor.itemsize()),
               tensor.dtype, tensor.layout(), mask);
    ASSERT_EQ(tensor.memory, expected.memory) << seed;
  }
}

}  // namespace
}  // namespace winnow
