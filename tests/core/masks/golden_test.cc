// The mask cases of tests/data/golden_data.json: upstream's values, and ours where we differ.
#include "support/golden.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/values.h"
#include "winnow/core/mask.h"
#include "winnow/core/values.h"

namespace winnow {
namespace {

using nlohmann::json;
using testing::golden;
using testing::golden_number;

DType dtype_of(const std::string& name) {
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float64") return DType::kF64;
  if (name == "float32") return DType::kF32;
  return DType::kI32;  // stands for all that cannot be pruned
}

DataNormConfig config_of(const json& c) {
  DataNormConfig config{
      .sparsity_level = golden_number(c["level"]),
      .sparse_block_shape = {c["block"][0].get<uint64_t>(), c["block"][1].get<uint64_t>()},
      .zeros_per_block = {},
      .norm = c["norm"] == "L1" ? Norm::kL1 : Norm::kL2};
  const auto zeros = c["zeros_per_block"].get<int64_t>();
  // A negative count has no place in the type; past the block's size it is refused alike.
  config.zeros_per_block = static_cast<uint64_t>(zeros);
  return config;
}

struct Outcome {
  bool ok;
  std::vector<int> mask;
};

Outcome run(const json& c, const std::vector<double>& data) {
  std::vector<uint64_t> dims;
  for (const json& size : c["shape"]) dims.push_back(size.get<uint64_t>());
  const MatrixShape shape = *fold_shape(dims);
  const DType dtype = dtype_of(c["dtype"]);
  if (!is_prunable(dtype)) return {false, {}};
  testing::Values values(dtype, shape, shape.cols);
  for (size_t r = 0; r < shape.rows; ++r) {
    for (size_t col = 0; col < shape.cols; ++col) values.set(r, col, data[r * shape.cols + col]);
  }
  std::vector<uint8_t> mask(shape.numel(), 7);
  if (!compute_mask(values.view(), config_of(c), mask).ok()) return {false, {}};
  return {true, {mask.begin(), mask.end()}};
}

TEST(GoldenData, ProducesTorchAoMasks) {
  size_t compared = 0, refused = 0;
  for (const json& c : golden()["mask_cases"]) {
    std::vector<double> data;
    for (const json& x : c["data"]) data.push_back(golden_number(x));
    const json& expected = c.contains("recommended") ? c["recommended"] : c["upstream"];
    const Outcome outcome = run(c, data);
    if (expected.contains("error")) {
      EXPECT_FALSE(outcome.ok) << c["id"];
      ++refused;
    } else {
      EXPECT_TRUE(outcome.ok) << c["id"];
      EXPECT_EQ(outcome.mask, expected["mask"].get<std::vector<int>>()) << c["id"];
      ++compared;
    }
  }
  EXPECT_EQ(compared + refused, golden()["mask_cases"].size());
  EXPECT_GT(compared, refused);
}

TEST(GoldenData, ProducesTorchAoMasksOfTheLargeCases) {
  std::vector<double> data;
  for (int64_t i = 0; i < 24 * 40; ++i) {
    data.push_back(static_cast<double>((7919 * i * i + 389 * i + 77) % 100003 - 50001) / 4096);
  }
  for (json c : golden()["large_cases"]) {
    c["shape"] = {24, 40};
    c["dtype"] = "float32";
    std::vector<int> expected;
    for (const json& row : c["rows"]) {
      for (const char digit : row.get<std::string>()) expected.push_back(digit - '0');
    }
    const Outcome outcome = run(c, data);
    EXPECT_EQ(outcome.mask, expected) << c["id"];
  }
}

TEST(GoldenData, RoundsTheNumberOfBlocksHalfToEven) {
  for (const json& c : golden()["rounding"]) {
    EXPECT_EQ(blocks_to_drop(c["level"], c["num_blocks"]), c["zeroed_blocks"].get<uint64_t>()) << c;
  }
}

TEST(GoldenData, DropsTheLowestIndexFirstWhereUpstreamIsUnstable) {
  const float zeros[40] = {};
  std::vector<uint8_t> mask(40);
  ASSERT_TRUE(compute_mask(contiguous_view(zeros, DType::kF32, {2, 20}),
                           {0.25, {1, 1}, {}, Norm::kL1}, mask)
                  .ok());
  std::vector<int> dropped;
  for (int i = 0; i < 40; ++i) {
    if (mask[static_cast<size_t>(i)] == 0) dropped.push_back(i);
  }
  EXPECT_EQ(
      dropped,
      golden()["tie_instability_demo"]["recommended_zero_positions_flat"].get<std::vector<int>>());
}

}  // namespace
}  // namespace winnow
