#include "winnow/core/row_quantization.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "support/golden.h"
#include "support/threads.h"
#include "winnow/core/mask.h"
#include "winnow/core/values.h"

namespace winnow {
namespace {

using nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::golden;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A matrix with its codes.
struct Table {
  Table(std::vector<float> weight, size_t cols)
      : weight(std::move(weight)),
        shape{this->weight.size() / cols, cols},
        codes(shape.numel(), 77),
        scales(shape.rows, -1),
        zero_points(shape.rows, -1) {}

  MatrixView view() const { return contiguous_view(weight.data(), DType::kF32, shape); }

  Status quantize(ZeroPolicy policy, size_t threads = 1) {
    testing::ThreadsFor pool(threads);
    return quantize_rows(view(), policy, {codes, scales, zero_points}, pool);
  }
  Status requantize(size_t threads = 1) {
    testing::ThreadsFor pool(threads);
    return requantize_rows(view(), scales, zero_points, codes, pool);
  }
  float value(size_t i) const {
    const size_t row = i / shape.cols;
    return (static_cast<float>(codes[i]) - zero_points[row]) * scales[row];
  }

  std::vector<float> weight;
  MatrixShape shape;
  std::vector<uint8_t> codes;
  std::vector<float> scales, zero_points;
};

void prune(Table& table, const json& c) {
  std::vector<uint8_t> mask(table.shape.numel());
  const DataNormConfig config{
      .sparsity_level = c["level"].get<double>(),
      .sparse_block_shape = {c["block"][0].get<uint64_t>(), c["block"][1].get<uint64_t>()}};
  ASSERT_TRUE(compute_mask(table.view(), config, mask).ok());
  apply_mask(table.weight.data(), DType::kF32, mask);
}

/// What upstream's post_training_sparse_quantize does to one weight, step by step.
void expect_golden(const json& c) {
  const std::string id = c["id"];
  SCOPED_TRACE(id);
  Table table(c["weight"].get<std::vector<float>>(), c["shape"][1].get<size_t>());
  if (id.ends_with("sparsify_first")) prune(table, c);
  ASSERT_TRUE(table.quantize(ZeroPolicy::kUpstream).ok());
  if (id.ends_with("quantize_first")) {
    for (size_t i = 0; i < table.weight.size(); ++i) table.weight[i] = table.value(i);
    prune(table, c);
    ASSERT_TRUE(table.requantize().ok());
  }
  const json& upstream = c["upstream"];
  EXPECT_EQ(table.codes, upstream["int_repr"].get<std::vector<uint8_t>>());
  EXPECT_EQ(table.scales, upstream["scales"].get<std::vector<float>>());
  EXPECT_EQ(table.zero_points, upstream["zero_points"].get<std::vector<float>>());
  const auto values = upstream["dequantized"].get<std::vector<float>>();
  // Upstream's own product is fused or not; ours is rounded twice.
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(table.value(i), values[i], 3e-7) << i;
}

TEST(RowQuantization, ProducesTorchAoCodes) {
  EXPECT_EQ(golden()["quant_cases"].size(), 5u);
  for (const json& c : golden()["quant_cases"]) expect_golden(c);
}

TEST(RowQuantization, RoundsHalfToEvenAndClamps) {
  Table table({0.5F, 1.5F, 2.5F, 254.5F, -1000.0F, 1e30F, kInfinity, -kInfinity, kNan}, 9);
  table.scales = {1};
  table.zero_points = {0};
  ASSERT_TRUE(table.requantize().ok());
  EXPECT_THAT(table.codes, ElementsAre(0, 2, 2, 254, 0, 255, 255, 0, 0));
}

TEST(RowQuantization, GivesZeroACodeOfItsOwnUnderExact) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weight(200 * 33);
  for (float& x : weight) x = random() % 3 == 0 ? 0 : normal(random);
  for (size_t i = 0; i < 33; ++i) weight[i] = 5 + std::abs(weight[i]);    // a row without 0 below
  for (size_t i = 33; i < 66; ++i) weight[i] = -5 - std::abs(weight[i]);  // and one above it
  // A code is off by half a step, and by what was rounded before it became an integer. In steps:
  // 1 / s and its product with x, of at most 255, by 255 * 2 * 2^-24 < 2^-15; the sum, below 256,
  // by 2^-17. The ends of a row may lie 2^-16 further outside, since s and z are rounded as well.
  constexpr float kTolerance = 0.5F + 0x1p-14F;
  Table table(weight, 33);
  ASSERT_TRUE(table.quantize(ZeroPolicy::kExact).ok());
  for (size_t i = 0; i < weight.size(); ++i) {
    const float scale = table.scales[i / 33];
    if (weight[i] == 0) {
      EXPECT_EQ(table.value(i), 0) << i;
    }
    EXPECT_LE(std::abs(table.value(i) - weight[i]), scale * kTolerance) << i;
    EXPECT_EQ(std::nearbyint(table.zero_points[i / 33]), table.zero_points[i / 33]);
    EXPECT_EQ(std::bit_cast<uint32_t>(scale) & 0xFF, 0u);
  }
}

TEST(RowQuantization, TakesAScaleOfOneForARowOfOneValue) {
  Table table({0, 0, 0, 3, 3, 3, 1e-9F, 0, 1e-9F}, 3);
  ASSERT_TRUE(table.quantize(ZeroPolicy::kUpstream).ok());
  EXPECT_THAT(table.scales, Each(1.0F));
  ASSERT_TRUE(table.quantize(ZeroPolicy::kExact).ok());
  EXPECT_EQ(table.scales[0], 1);
  EXPECT_NEAR(table.value(3), 3, table.scales[1] / 2);
}

TEST(RowQuantization, NamesTheFirstRowThatCannotBeExact) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const float bad : {kNan, kInfinity, -kInfinity, kMax}) {
    std::vector<float> weight(300 * 1000, 1.0F);  // rows of several tasks
    weight[150 * 1000 + 999] = bad;
    weight[150 * 1000 + 1] = bad == kMax ? -kMax : 1.0F;
    weight[290 * 1000] = kNan;
    const Status status = Table(weight, 1000).quantize(ZeroPolicy::kExact, 3);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("row 150 "));
    Table upstream(weight, 1000);
    EXPECT_TRUE(upstream.quantize(ZeroPolicy::kUpstream).ok());
    if (bad != kMax) {
      EXPECT_TRUE(std::isnan(upstream.value(150 * 1000)));
    }
  }
}

TEST(RowQuantization, IsTheSameForAnyNumberOfThreadsAndAnyStride) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> weight(5000 * 40);
  for (float& x : weight) x = normal(random);
  for (const ZeroPolicy policy : {ZeroPolicy::kExact, ZeroPolicy::kUpstream}) {
    Table one(weight, 40), many(weight, 40), narrow(weight, 40);
    ASSERT_TRUE(one.quantize(policy).ok());
    ASSERT_TRUE(many.quantize(policy, 4).ok());
    EXPECT_EQ(one.codes, many.codes);
    EXPECT_EQ(one.scales, many.scales);
    EXPECT_EQ(one.zero_points, many.zero_points);

    // The first 37 columns, read by a stride, and the same as a matrix of their own.
    MatrixView strided = one.view();
    strided.shape.cols = 37;
    Table copy(std::vector<float>(5000 * 37), 37), read = copy;
    for (size_t i = 0; i < 5000 * 37; ++i) copy.weight[i] = weight[i / 37 * 40 + i % 37];
    ASSERT_TRUE(copy.quantize(policy).ok());
    testing::ThreadsFor pool(2);
    ASSERT_TRUE(
        quantize_rows(strided, policy, {read.codes, read.scales, read.zero_points}, pool).ok());
    EXPECT_EQ(copy.codes, read.codes);
    EXPECT_EQ(copy.scales, read.scales);
  }
}

// Under UndefinedBehaviorSanitizer a read through a misaligned float* ends this test.
TEST(RowQuantization, ReadsRowsAtAnyAddress) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> weight(20 * 37);
  for (float& x : weight) x = normal(random);
  for (size_t misalignment = 1; misalignment < sizeof(float); ++misalignment) {
    std::vector<char> bytes(misalignment + weight.size() * sizeof(float));
    std::memcpy(bytes.data() + misalignment, weight.data(), weight.size() * sizeof(float));
    Table aligned(weight, 37), read = aligned;
    const MatrixView view =
        contiguous_view(bytes.data() + misalignment, DType::kF32, aligned.shape);
    SerialFor threads;
    for (const ZeroPolicy policy : {ZeroPolicy::kExact, ZeroPolicy::kUpstream}) {
      ASSERT_TRUE(aligned.quantize(policy).ok());
      ASSERT_TRUE(
          quantize_rows(view, policy, {read.codes, read.scales, read.zero_points}, threads).ok());
      EXPECT_EQ(read.codes, aligned.codes);
      EXPECT_EQ(read.scales, aligned.scales);
      EXPECT_EQ(read.zero_points, aligned.zero_points);
    }
    std::fill(read.codes.begin(), read.codes.end(), uint8_t{77});
    ASSERT_TRUE(
        requantize_rows(view, aligned.scales, aligned.zero_points, read.codes, threads).ok());
    EXPECT_EQ(read.codes, aligned.codes);
  }
}

TEST(RowQuantization, RefusesWhatDoesNotFitAndWritesNothing) {
  Table table({1, 2, 3, 4}, 2);
  SerialFor threads;
  MatrixView doubles = table.view();
  doubles.dtype = DType::kF64;
  const QuantizedRows out{table.codes, table.scales, table.zero_points};
  EXPECT_EQ(quantize_rows(doubles, ZeroPolicy::kExact, out, threads).code(),
            ErrorCode::kInvalidArgument);
  const QuantizedRows few{out.codes, out.scales.first(1), out.zero_points};
  EXPECT_EQ(quantize_rows(table.view(), ZeroPolicy::kExact, few, threads).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(requantize_rows(table.view(), few.scales, out.zero_points, out.codes, threads).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(table.codes, Each(77));
}

TEST(RowQuantization, AcceptsTablesWithoutRowsOrColumns) {
  SerialFor threads;
  std::vector<float> scales(3), zero_points(3);
  const MatrixView none = contiguous_view(nullptr, DType::kF32, {3, 0});
  ASSERT_TRUE(quantize_rows(none, ZeroPolicy::kExact, {{}, scales, zero_points}, threads).ok());
  EXPECT_THAT(scales, Each(1.0F));
  EXPECT_THAT(zero_points, Each(0.0F));
  const MatrixView no_rows = contiguous_view(nullptr, DType::kF32, {0, 3});
  EXPECT_TRUE(quantize_rows(no_rows, ZeroPolicy::kExact, {}, threads).ok());
}

}  // namespace
}  // namespace winnow
