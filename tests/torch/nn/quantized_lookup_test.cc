// What quantized embeddings and bags compute, against modules of floats on the same values.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include "support/golden.h"
#include "torch/quantized_tables.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow::nn {
namespace {

using ::testing::HasSubstr;
using testing::holds;
using testing::message_of;
using testing::pruned_table;
using testing::quarters;
using torch::nn::EmbeddingBagMode;

constexpr int64_t kTableRows = 50, kTableCols = 12;

Embedding quantized_embedding(const QuantizedWeight& table) {
  Embedding module(EmbeddingOptions(table.codes.size(0), table.codes.size(1)));
  module->quantize(table);
  return module;
}

/// A bag of bytes and one of floats, on equal values.
struct Pair {
  Pair(const QuantizedWeight& table, EmbeddingBagOptions options)
      : quantized(options),
        floats(torch::nn::EmbeddingBagOptions(options)._weight(dequantize_rows(table))) {
    quantized->quantize(table);
  }

  EmbeddingBag quantized;
  torch::nn::EmbeddingBag floats;
};

TEST(QuantizedLookup, RowsAreTheDequantizedOnesBitForBit) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const int64_t cols = std::vector<int64_t>{1, 3, 8, 16, 33, 64, 100}[seed % 7];
    const at::Tensor weight = pruned_table(200, cols, seed);
    auto embedding = quantized_embedding(quantize_rows(weight));
    const at::Tensor rows = embedding(torch::arange(200));
    EXPECT_TRUE(rows.equal(embedding->storage()->weight())) << seed;
    EXPECT_TRUE(holds(rows.masked_select(weight.eq(0)).eq(0)));
  }
}

TEST(QuantizedLookup, UpstreamsPolicyRoundsOnceMore) {
  // code * s - z * s rounds z * s, and (code - z) * s the difference: each by 2^-24 of at most
  // 255 * s + |z| * s, twice.
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const auto table = quantize_rows(pruned_table(200, 16, seed), ZeroPolicy::kUpstream);
    auto embedding = quantized_embedding(table);
    const at::Tensor error = (embedding(torch::arange(200)) - dequantize_rows(table)).abs();
    const at::Tensor bound = (table.zero_points.abs() + 255) * table.scales * std::exp2(-22);
    EXPECT_TRUE(holds(error.le(bound.unsqueeze(1)))) << seed;
  }
}

TEST(QuantizedLookup, TakesIndicesOfAnyShapeAndBothTypes) {
  auto embedding = quantized_embedding(quarters(kTableRows, kTableCols));
  const at::Tensor weight = embedding->storage()->weight();
  for (const auto type : {torch::kLong, torch::kInt}) {
    for (const auto& shape :
         std::vector<std::vector<int64_t>>{{}, {5}, {2, 3}, {2, 0}, {2, 3, 4}}) {
      const at::Tensor indices = torch::randint(kTableRows, shape).to(type);
      EXPECT_TRUE(embedding(indices).equal(torch::embedding(weight, indices)));
    }
  }
  const at::Tensor strided = torch::randint(kTableRows, {6, 4}).t();
  EXPECT_TRUE(embedding(strided).equal(torch::embedding(weight, strided)));
}

TEST(QuantizedLookup, RefusesBadIndicesAsAnEmbeddingOfFloats) {
  auto embedding = quantized_embedding(quarters(kTableRows, kTableCols));
  torch::nn::Embedding floats(kTableRows, kTableCols);
  for (const at::Tensor& indices : {torch::tensor({0, 50}), torch::tensor({-1, 3})}) {
    EXPECT_THROW(floats(indices), c10::IndexError);
    EXPECT_THAT(message_of<c10::IndexError>([&] { embedding(indices); }),
                HasSubstr("index out of range in self: the table has 50 rows"));
  }
  for (const auto type : {torch::kFloat, torch::kByte, torch::kBool}) {
    EXPECT_THROW(floats(torch::ones({2}, type)), c10::Error);
    EXPECT_THAT(message_of<c10::Error>([&] { embedding(torch::ones({2}, type)); }),
                HasSubstr("scalar types: Long, Int"));
  }
  EXPECT_THROW(embedding(torch::zeros({2}, torch::TensorOptions(torch::kMeta).dtype(torch::kLong))),
               c10::ValueError);
}

TEST(QuantizedLookup, TablesWithoutRowsOrColumns) {
  auto no_rows = quantized_embedding(QuantizedWeight::zeros(0, 4));
  EXPECT_EQ(no_rows(torch::empty({0}, torch::kLong)).sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_THROW(no_rows(torch::zeros({1}, torch::kLong)), c10::IndexError);
  auto no_cols = quantized_embedding(QuantizedWeight::zeros(4, 0));
  EXPECT_EQ(no_cols(torch::tensor({1, 3})).sizes(), (std::vector<int64_t>{2, 0}));
  Pair bags(QuantizedWeight::zeros(0, 4), EmbeddingBagOptions(0, 4));
  EXPECT_TRUE(bags.quantized(torch::empty({0}, torch::kLong), torch::tensor({0, 0}))
                  .equal(torch::zeros({2, 4})));
}

const std::vector<EmbeddingBagMode>& modes() {
  static const std::vector<EmbeddingBagMode> modes = {torch::kSum, torch::kMean, torch::kMax};
  return modes;
}

/// Sums and maxima of quarters are exact. A mean of floats is a sum times a rounded 1 / count, ours
/// is a sum over the count: three roundings of 2^-24 in all.
void expect_equal_bags(const Pair& bags, const at::Tensor& actual, const at::Tensor& expected) {
  if (std::holds_alternative<torch::enumtype::kMean>(bags.quantized->options.mode())) {
    EXPECT_TRUE(at::allclose(actual, expected, 3 * std::exp2(-24), 0));
  } else {
    EXPECT_TRUE(actual.equal(expected)) << actual << expected;
  }
}

TEST(QuantizedBag, ComputesWhatABagOfFloatsDoes) {
  torch::manual_seed(2);
  const at::Tensor input = torch::randint(kTableRows, {40}),
                   offsets = torch::tensor({0, 0, 5, 6, 20, 40});
  for (const auto& mode : modes()) {
    for (const auto& padding : std::vector<std::optional<int64_t>>{std::nullopt, 7, -3}) {
      for (const bool last : {false, true}) {
        const Pair bags(quarters(kTableRows, kTableCols),
                        EmbeddingBagOptions(kTableRows, kTableCols)
                            .mode(mode)
                            .padding_idx(padding)
                            .include_last_offset(last));
        at::Tensor indices = input.clone();
        if (padding)
          indices.slice(0, 3, 12).fill_((*padding + kTableRows) % kTableRows);  // a bag of it too
        auto quantized = bags.quantized;
        auto floats = bags.floats;
        for (const auto& types :
             {std::pair{torch::kLong, torch::kLong}, std::pair{torch::kInt, torch::kInt},
              std::pair{torch::kInt, torch::kLong}, std::pair{torch::kLong, torch::kInt}}) {
          const at::Tensor i = indices.to(types.first), o = offsets.to(types.second);
          expect_equal_bags(bags, quantized(i, o), floats(i, o));
        }
        const at::Tensor none = torch::empty({0}, torch::kLong),
                         zeros = torch::zeros({3}, torch::kLong);
        expect_equal_bags(bags, quantized(none, zeros), floats(none, zeros));
        if (last) continue;  // LibTorch has no good answer: see the next test
        const at::Tensor matrix = indices.view({5, 8}).t();
        expect_equal_bags(bags, quantized(matrix), floats(matrix));
      }
    }
  }
}

// Of the bags of floats, sums and means without padding_idx leave such indices out, but the means
// count them; all others take them into the last bag.
TEST(QuantizedBag, LeavesOutIndicesBehindTheLastOffsetInEveryMode) {
  const at::Tensor indices = torch::tensor({0, 1, 2}), offsets = torch::tensor({0, 1, 2});
  for (const auto& mode : modes()) {
    for (const auto& padding : std::vector<std::optional<int64_t>>{std::nullopt, 7}) {
      const Pair bags(quarters(kTableRows, kTableCols), EmbeddingBagOptions(kTableRows, kTableCols)
                                                            .mode(mode)
                                                            .padding_idx(padding)
                                                            .include_last_offset(true));
      auto quantized = bags.quantized;
      EXPECT_TRUE(quantized(indices, offsets).equal(bags.floats->weight.narrow(0, 0, 2)));
    }
  }
}

TEST(QuantizedBag, WeighsItsIndicesAsABagOfFloatsDoes) {
  torch::manual_seed(3);
  const at::Tensor indices = torch::randint(kTableRows, {40}),
                   offsets = torch::tensor({0, 0, 5, 6, 20});
  const at::Tensor eighths = torch::randint(-8, 9, {40}).to(torch::kFloat) / 8;
  for (const auto& padding :
       std::vector<std::optional<int64_t>>{std::nullopt, indices[4].item<int64_t>()}) {
    Pair bags(quarters(kTableRows, kTableCols),
              EmbeddingBagOptions(kTableRows, kTableCols).mode(torch::kSum).padding_idx(padding));
    EXPECT_TRUE(
        bags.quantized(indices, offsets, eighths).equal(bags.floats(indices, offsets, eighths)));
    EXPECT_TRUE(bags.quantized(indices.view({5, 8}), at::Tensor(), eighths.view({5, 8}))
                    .equal(bags.floats(indices.view({5, 8}), at::Tensor(), eighths.view({5, 8}))));
    const at::Tensor ours = eighths.clone().requires_grad_(),
                     theirs = eighths.clone().requires_grad_();
    bags.quantized(indices, offsets, ours).sum().backward();
    bags.floats(indices, offsets, theirs).sum().backward();
    EXPECT_TRUE(ours.grad().equal(theirs.grad()));
  }
}

// The kernel's own weights would round scale and bias apart: 0 became 1e-8 in most cases.
TEST(QuantizedBag, WhatIsPrunedIsExactlyZeroInEveryMode) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const at::Tensor weight = pruned_table(200, 33, seed);
    const at::Tensor pruned = weight.view({50, 4, 33}).eq(0).all(1);  // in all of a bag's rows
    for (const auto& mode : modes()) {
      EmbeddingBag bag(EmbeddingBagOptions(200, 33).mode(mode));
      bag->quantize(quantize_rows(weight));
      const at::Tensor bags = bag(torch::arange(200).view({50, 4}));
      EXPECT_TRUE(holds(bags.masked_select(pruned).eq(0)));
      if (!std::holds_alternative<torch::enumtype::kSum>(mode)) continue;
      const at::Tensor weighted =
          bag(torch::arange(200).view({50, 4}), at::Tensor(), torch::rand({50, 4}));
      EXPECT_TRUE(holds(weighted.masked_select(pruned).eq(0)));
    }
    EXPECT_GT(pruned.sum().item<int64_t>(), 50);
  }
}

TEST(QuantizedBag, ProducesWhatTheGoldenDataRecommend) {
  const std::map<std::string, EmbeddingBagMode> by_name = {
      {"sum", torch::kSum}, {"mean", torch::kMean}, {"max", torch::kMax}};
  for (const auto& c : testing::golden()["quant_bag_forward"]) {
    const at::Tensor weight = torch::tensor(c["weight"].get<std::vector<float>>()).view({-1, 4});
    for (const auto policy : {ZeroPolicy::kUpstream, ZeroPolicy::kExact}) {
      EmbeddingBag bag(EmbeddingBagOptions(weight.size(0), 4)
                           .mode(by_name.at(c["args"]["mode"].get<std::string>())));
      const QuantizedWeight table = quantize_rows(weight, policy);
      bag->quantize(table);
      const at::Tensor got = bag(torch::tensor(c["indices"].get<std::vector<int64_t>>()),
                                 torch::tensor(c["offsets"].get<std::vector<int64_t>>()));
      const at::Tensor expected =
          torch::tensor(c["recommended_output"][0].get<std::vector<float>>()).view({1, 4});
      // Under kUpstream these rows are exact; else each of two values is half a step off at most.
      const double bound = policy == ZeroPolicy::kUpstream
                               ? 1e-6
                               : table.scales.narrow(0, 0, 2).sum().item<double>() / 2;
      EXPECT_LE((got - expected).abs().max().item<double>(), bound) << c["args"] << got;
    }
  }
}

TEST(QuantizedBag, NeverIgnoresPaddingAsUpstreamDoes) {
  const at::Tensor weight = torch::tensor({{1.0F, 2.0F, 3.0F, 4.0F}, {5.0F, 6.0F, 7.0F, 8.0F}});
  EmbeddingBag bag(EmbeddingBagOptions(2, 4).mode(torch::kSum).padding_idx(0));
  bag->quantize(quantize_rows(weight, ZeroPolicy::kUpstream));
  EXPECT_TRUE(bag(torch::tensor({{0, 1}})).equal(weight.narrow(0, 1, 1)));
  // Also where the row that is left out is no number.
  at::Tensor spoilt = weight.clone();
  spoilt[0][0] = std::nan("");
  bag->quantize(quantize_rows(spoilt, ZeroPolicy::kUpstream));
  EXPECT_TRUE(bag(torch::tensor({{0, 1}})).equal(weight.narrow(0, 1, 1)));
}

TEST(QuantizedBag, RefusesWhatABagOfFloatsRefuses) {
  const at::Tensor two = torch::tensor({0, 1}), zero = torch::tensor({0});
  const std::vector<std::array<at::Tensor, 3>> bad = {
      {torch::tensor({0, 50}), zero, {}},
      {torch::tensor({0, -1}), zero, {}},
      {two, torch::tensor({1}), {}},
      {two, torch::tensor({0, 3}), {}},
      {two, {}, {}},
      {two.view({1, 2}), zero, {}},
      {two.view({1, 1, 2}), {}, {}},
      {two, zero.view({1, 1}), {}},
      {two.to(torch::kFloat), zero, {}},
      {two, zero, torch::ones({3})},
      {two, zero, torch::ones({2}, torch::kDouble)},
      {torch::empty({2, 0}, torch::kLong), {}, {}},
  };
  for (const auto& mode : modes()) {
    Pair bags(quarters(kTableRows, kTableCols),
              EmbeddingBagOptions(kTableRows, kTableCols).mode(mode));
    for (const auto& [input, offsets, weights] : bad) {
      EXPECT_THROW(bags.floats(input, offsets, weights), c10::Error);
      EXPECT_THROW(bags.quantized(input, offsets, weights), c10::Error);
    }
    if (!std::holds_alternative<torch::enumtype::kSum>(mode)) {
      EXPECT_THROW(bags.floats(two, zero, torch::ones({2})), c10::Error);
      EXPECT_THROW(bags.quantized(two, zero, torch::ones({2})), c10::NotImplementedError);
    }
    EXPECT_THAT(message_of<c10::Error>([&] {
                  bags.quantized(two, torch::tensor({0, 2, 1}));
                }),
                HasSubstr("offsets must not decrease"));
    EXPECT_THAT(message_of<c10::Error>([&] {
                  bags.quantized(two, torch::tensor({0, 7}));
                }),
                HasSubstr("an offset is beyond the 2 indices of input: the largest is 7"));
  }
  Pair sparse(quarters(kTableRows, kTableCols),
              EmbeddingBagOptions(kTableRows, kTableCols).mode(torch::kMax).sparse(true));
  EXPECT_THROW(sparse.floats(two, zero), c10::Error);
  EXPECT_THROW(sparse.quantized(two, zero), c10::Error);
}

}  // namespace
}  // namespace winnow::nn
