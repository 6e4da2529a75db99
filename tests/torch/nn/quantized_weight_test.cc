// Codes, scales and zero points, without modules.
#include "winnow/torch/nn/quantized_weight.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <limits>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/quantized_tables.h"
#include "torch/sparsifiers.h"

namespace winnow::nn {
namespace {

using ::testing::HasSubstr;
using testing::holds;
using testing::message_of;
using testing::pruned_table;
using testing::same_bits;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(QuantizeRows, ProducesTorchAoCodesUnderUpstreamsPolicy) {
  for (const auto& c : testing::golden()["quant_cases"]) {
    if (c["id"] != "plain_quantization_only") continue;
    const auto& expected = c["upstream"];
    const at::Tensor weight = torch::tensor(c["weight"].get<std::vector<float>>()).view({8, 4});
    const QuantizedWeight got = quantize_rows(weight, ZeroPolicy::kUpstream);
    EXPECT_TRUE(same_bits(got.scales, torch::tensor(expected["scales"].get<std::vector<float>>())));
    EXPECT_TRUE(same_bits(got.zero_points,
                          torch::tensor(expected["zero_points"].get<std::vector<float>>())));
    EXPECT_TRUE(got.codes.equal(
        torch::tensor(expected["int_repr"].get<std::vector<int>>()).to(torch::kByte).view({8, 4})));
    EXPECT_TRUE(dequantize_rows(got).equal(
        torch::tensor(expected["dequantized"].get<std::vector<float>>()).view({8, 4})));
    return;
  }
  FAIL() << "the golden data have no plain case";
}

TEST(QuantizeRows, RoundsHalfToEvenAndClampsAsTorchAo) {
  // A row of scale 1: its range is that of the codes.
  const at::Tensor row = torch::tensor({{0.0F, 0.5F, 1.5F, 2.5F, 254.5F, 255.0F}});
  for (const auto policy : {ZeroPolicy::kUpstream, ZeroPolicy::kExact}) {
    EXPECT_TRUE(quantize_rows(row, policy)
                    .codes.equal(torch::tensor({{0, 0, 2, 2, 254, 255}}).to(torch::kByte)));
  }
}

TEST(QuantizeRows, KeepsEveryZeroAndIsWithinHalfAStep) {
  int64_t zeros = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const int64_t cols = std::vector<int64_t>{1, 3, 8, 16, 33, 64, 100}[seed % 7];
    const at::Tensor weight = pruned_table(200, cols, seed);
    const QuantizedWeight quantized = quantize_rows(weight);
    const at::Tensor values = dequantize_rows(quantized);
    const at::Tensor pruned = weight.eq(0);
    zeros += pruned.sum().item<int64_t>();
    EXPECT_TRUE(holds(values.masked_select(pruned).eq(0)));
    // Half a step by rounding to a code. The code is rounded from x * (1/s) + z, where x / s is up
    // to 255 with two relative errors of 2^-24, and the sum, below 256, has one of 2^-17; the steps
    // may fall short of the range by 2^-24 of it: 255 * 3 * 2^-24 + 2^-17 < 2^-14. The values have
    // no error of their own: see the next test.
    const at::Tensor steps = (values.to(torch::kDouble) - weight.to(torch::kDouble)).abs() /
                             quantized.scales.to(torch::kDouble).unsqueeze(1);
    EXPECT_LE(steps.max().item<double>(), 0.5 + std::exp2(-14)) << "seed " << seed;
  }
  EXPECT_GT(zeros, 100000);
}

TEST(QuantizeRows, GivesExactTablesProductsWithoutRounding) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const QuantizedWeight q = quantize_rows(pruned_table(200, 16, seed));
    EXPECT_TRUE(holds(q.scales.view(torch::kInt).bitwise_and(0xFF).eq(0)));  // 16 bits of mantissa
    EXPECT_TRUE(holds(q.zero_points.eq(q.zero_points.round())));
    EXPECT_TRUE(holds(q.zero_points.ge(0) & q.zero_points.le(255)));
    const at::Tensor exact =
        (q.codes.to(torch::kDouble) - q.zero_points.to(torch::kDouble).unsqueeze(1)) *
        q.scales.to(torch::kDouble).unsqueeze(1);
    EXPECT_TRUE(dequantize_rows(q).to(torch::kDouble).equal(exact));
  }
}

TEST(QuantizeRows, UpstreamsPolicyLosesZerosThatTheExactOneKeeps) {
  // 0 lies outside the range of the first two rows, and between two codes of the third.
  const at::Tensor weight = torch::tensor(
      {{1.0F, 2.0F, 3.0F, 4.0F}, {-1.0F, -2.0F, -3.0F, -4.0F}, {-1.0F, 0.0F, -2.0F, 2.0F}});
  const at::Tensor pruned = weight * torch::tensor({{0, 0, 1, 1}, {0, 0, 1, 1}, {1, 1, 1, 1}});
  const auto upstream = quantize_rows(weight, ZeroPolicy::kUpstream);
  EXPECT_TRUE(dequantize_rows(requantize_rows(pruned, upstream))
                  .equal(torch::tensor(
                      {{1.0F, 1.0F, 3.0F, 4.0F},
                       {-1.0F, -1.0F, -3.0F, -4.0F},
                       {-0.996078372001648F, -0.007843017578125F, -2.0F, 2.000000238418579F}})));
  const auto exact = quantize_rows(weight);
  EXPECT_TRUE(holds(dequantize_rows(requantize_rows(pruned, exact)).eq(0).eq(pruned.eq(0))));
}

TEST(QuantizeRows, TakesEveryFloatingDtypeAndLayout) {
  const at::Tensor weight = pruned_table(20, 12, 3).to(torch::kBFloat16).to(torch::kFloat);
  for (const auto policy : {ZeroPolicy::kExact, ZeroPolicy::kUpstream}) {
    const QuantizedWeight expected = quantize_rows(weight, policy);
    for (const auto dtype : {torch::kDouble, torch::kHalf, torch::kBFloat16}) {
      const at::Tensor other = weight.to(dtype);
      const QuantizedWeight rounded = quantize_rows(other.to(torch::kFloat), policy);
      const QuantizedWeight got = quantize_rows(other, policy);
      EXPECT_TRUE(got.codes.equal(rounded.codes) && same_bits(got.scales, rounded.scales));
    }
    const at::Tensor strided = weight.t().contiguous().t();
    EXPECT_TRUE(quantize_rows(strided, policy).codes.equal(expected.codes));
    EXPECT_TRUE(
        requantize_rows(strided.clone().requires_grad_(), expected).codes.equal(expected.codes));
  }
}

TEST(QuantizeRows, IsTheSameInPieces) {
  const at::Tensor weight = pruned_table(3000, 700, 5);  // two pieces and a bit
  const QuantizedWeight whole = quantize_rows(weight);
  for (const int64_t begin : {0, 1490, 2000, 2990}) {
    const QuantizedWeight part = quantize_rows(weight.narrow(0, begin, 10));
    EXPECT_TRUE(part.codes.equal(whole.codes.narrow(0, begin, 10)));
    EXPECT_TRUE(part.scales.equal(whole.scales.narrow(0, begin, 10)));
    EXPECT_TRUE(part.zero_points.equal(whole.zero_points.narrow(0, begin, 10)));
  }
  EXPECT_TRUE(requantize_rows(dequantize_rows(whole), whole).codes.equal(whole.codes));
}

TEST(QuantizeRows, TakesTablesWithoutValues) {
  for (const auto policy : {ZeroPolicy::kExact, ZeroPolicy::kUpstream}) {
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {3, 0}}) {
      const QuantizedWeight empty = quantize_rows(torch::empty({rows, cols}), policy);
      EXPECT_EQ(empty.codes.sizes(), (std::vector<int64_t>{rows, cols}));
      EXPECT_EQ(empty.scales.size(0), rows);
      EXPECT_EQ(requantize_rows(torch::empty({rows, cols}), empty).codes.size(0), rows);
      EXPECT_EQ(dequantize_rows(empty).sizes(), (std::vector<int64_t>{rows, cols}));
    }
  }
}

TEST(QuantizeRows, RowsOfAlmostOneValueHaveAScaleOfOne) {
  const at::Tensor weight = torch::tensor({{0.0F, 0.0F}, {2.0F, 2.0F}, {1e-5F, 2e-5F}});
  const QuantizedWeight upstream = quantize_rows(weight, ZeroPolicy::kUpstream);
  EXPECT_TRUE(holds(upstream.scales.eq(1)));
  EXPECT_TRUE(dequantize_rows(upstream)[1].equal(weight[1]));
  const QuantizedWeight exact = quantize_rows(weight);
  EXPECT_TRUE(exact.scales.eq(1).equal(torch::tensor({true, false, true})));
  EXPECT_TRUE(holds(dequantize_rows(exact)[2].eq(0)));  // 2e-5 of a step
}

TEST(QuantizeRows, RefusesRowsWithoutAnExactZeroAndNamesThem) {
  const double largest = std::numeric_limits<float>::max();
  for (const auto& row : std::vector<std::vector<double>>{
           {kNaN, 1, 2}, {1, kInfinity, 2}, {1, 2, -kInfinity}, {-largest, 1, largest}}) {
    at::Tensor weight = torch::ones({1500000, 3});  // beyond the first piece
    weight[1234567] = torch::tensor(row).to(torch::kFloat);
    EXPECT_THAT(message_of<c10::ValueError>([&] { quantize_rows(weight); }),
                HasSubstr("cannot quantize row 1234567: it holds NaN or infinite values"));
  }
  const at::Tensor half = torch::tensor({{-largest / 2, largest / 2}}).to(torch::kFloat);
  EXPECT_TRUE(holds(dequantize_rows(quantize_rows(half)).isfinite()));
}

TEST(QuantizeRows, UpstreamsPolicyMakesRowsOfNanWhereAValueIsNotFinite) {
  const at::Tensor weight =
      torch::tensor({{kNaN, 1.0, 2.0}, {1.0, kInfinity, 2.0}, {0.0, 1.0, 255.0}}).to(torch::kFloat);
  const at::Tensor values = dequantize_rows(quantize_rows(weight, ZeroPolicy::kUpstream));
  EXPECT_TRUE(holds(values.narrow(0, 0, 2).isnan()));
  EXPECT_TRUE(values[2].equal(weight[2]));
}

TEST(QuantizeRows, RefusesWhatIsNoTableOfFloats) {
  for (const at::Tensor& weight :
       {at::Tensor(), torch::ones({4}), torch::ones({2, 2, 2}), torch::ones({2, 2}, torch::kInt),
        torch::ones({2, 2}).to_sparse(), torch::ones({2, 2}, torch::kMeta)}) {
    EXPECT_THROW(quantize_rows(weight), c10::ValueError);
    EXPECT_THROW(requantize_rows(weight, QuantizedWeight::zeros(2, 2)), c10::ValueError);
  }
  EXPECT_THROW(requantize_rows(torch::ones({2, 3}), QuantizedWeight::zeros(2, 2)), c10::ValueError);
  EXPECT_THROW(QuantizedWeight::zeros(-1, 2), c10::ValueError);
}

TEST(QuantizedWeight, ChecksItsTensorsAndNamesTheOne) {
  const auto fault = [](const auto& spoil) {
    QuantizedWeight weight = QuantizedWeight::zeros(3, 2);
    spoil(weight);
    return message_of<c10::ValueError>([&] { weight.check(); });
  };
  EXPECT_EQ(fault([](QuantizedWeight&) {}), "");
  EXPECT_THAT(fault([](auto& w) { w.codes = at::Tensor(); }), HasSubstr("codes: expected"));
  EXPECT_THAT(fault([](auto& w) { w.codes = w.codes.to(torch::kChar); }),
              HasSubstr("codes: expected"));
  EXPECT_THAT(fault([](auto& w) { w.codes = w.codes.flatten(); }), HasSubstr("codes: expected"));
  EXPECT_THAT(fault([](auto& w) { w.scales = torch::ones({2}); }), HasSubstr("scales: expected"));
  EXPECT_THAT(fault([](auto& w) { w.scales = at::Tensor(); }), HasSubstr("scales: expected"));
  EXPECT_THAT(fault([](auto& w) { w.zero_points = torch::ones({3}, torch::kDouble); }),
              HasSubstr("zero_points: expected"));
}

TEST(QuantizeRows, MakesNormalTensorsInInferenceModeAndWarnsOfNothing) {
  const testing::CapturedWarnings warnings;
  const c10::InferenceMode mode;
  const QuantizedWeight quantized = quantize_rows(torch::rand({3, 4}));
  EXPECT_FALSE(quantized.codes.is_inference() || quantized.scales.is_inference());
  EXPECT_TRUE(warnings.messages().empty());
}

}  // namespace
}  // namespace winnow::nn
