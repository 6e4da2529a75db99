// What Embedding and EmbeddingBag have of their own: options, forward overloads, from_pretrained.
#include "winnow/torch/nn/embedding.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow::nn {
namespace {

/// The message of what `call` throws; "" where it throws nothing.
template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

template <typename Ours, typename Theirs, typename Options>
void expect_same_refusal(const Options& options) {
  const std::string theirs = error_of([&] { Theirs{options}; });
  EXPECT_NE(theirs, "");
  EXPECT_EQ(error_of([&] { Ours{options}; }), theirs);
}

TEST(NnEmbedding, RefusesTheOptionsThatLibTorchRefuses) {
  const at::Tensor table = torch::ones({5, 4});
  for (const auto& options :
       {EmbeddingOptions(7, 4).padding_idx(7), EmbeddingOptions(7, 4).padding_idx(-8),
        EmbeddingOptions(7, 4)._weight(table)}) {
    expect_same_refusal<Embedding, torch::nn::Embedding>(options);
  }
  for (const auto& options :
       {EmbeddingBagOptions(7, 4).padding_idx(7), EmbeddingBagOptions(7, 4).padding_idx(-8),
        EmbeddingBagOptions(7, 4)._weight(table)}) {
    expect_same_refusal<EmbeddingBag, torch::nn::EmbeddingBag>(options);
  }
  const at::Tensor row = torch::ones({4});
  EXPECT_EQ(error_of([&] { Embedding::from_pretrained(row); }),
            error_of([&] { torch::nn::Embedding::from_pretrained(row); }));
  EXPECT_EQ(error_of([&] { EmbeddingBag::from_pretrained(row); }),
            error_of([&] { torch::nn::EmbeddingBag::from_pretrained(row); }));
}

TEST(NnEmbedding, HasItsOptionsButNotTheWeightTwice) {
  const at::Tensor table = torch::ones({7, 4});
  const Embedding embedding(EmbeddingOptions(7, 4).padding_idx(-1)._weight(table));
  EXPECT_EQ(embedding->options.padding_idx(), 6);
  EXPECT_FALSE(embedding->options._weight().defined());
  EXPECT_TRUE(embedding->weight.is_same(table));
  EXPECT_EQ(Embedding(7, 4)->weight.sizes(), (std::vector<int64_t>{7, 4}));
  EXPECT_EQ(EmbeddingBag(7, 4)->weight.sizes(), (std::vector<int64_t>{7, 4}));
}

TEST(NnEmbedding, FromPretrainedTakesOverTheTensor) {
  const at::Tensor table = torch::arange(28.0F).view({7, 4});
  const auto frozen = Embedding::from_pretrained(
      table,
      EmbeddingFromPretrainedOptions().padding_idx(2).max_norm(3).norm_type(1).scale_grad_by_freq(
          true));
  EXPECT_TRUE(frozen->weight.is_same(table));
  EXPECT_FALSE(frozen->weight.requires_grad());
  EXPECT_EQ(frozen->options.padding_idx(), 2);
  EXPECT_EQ(frozen->options.max_norm(), 3);
  EXPECT_EQ(frozen->options.norm_type(), 1);
  EXPECT_TRUE(frozen->options.scale_grad_by_freq());
  const auto free = Embedding::from_pretrained(
      table.clone(), EmbeddingFromPretrainedOptions().freeze(false).sparse(true));
  EXPECT_TRUE(free->weight.requires_grad());
  EXPECT_TRUE(free->options.sparse());
}

TEST(NnEmbedding, BagFromPretrainedKeepsAllOptions) {
  const at::Tensor table = torch::arange(28.0F).view({7, 4});
  auto bag = EmbeddingBag::from_pretrained(table, EmbeddingBagFromPretrainedOptions()
                                                      .mode(torch::kSum)
                                                      .padding_idx(0)
                                                      .include_last_offset(true));
  EXPECT_TRUE(bag->weight.is_same(table));
  EXPECT_FALSE(bag->weight.requires_grad());
  const at::Tensor sums = bag(torch::tensor({1, 2, 0, 3}), torch::tensor({0, 2, 4}));
  EXPECT_TRUE(sums.equal(torch::stack({table[1] + table[2], table[3]})));
}

TEST(NnEmbedding, CloneOfAPretrainedModuleIsIndependent) {
  const auto original = Embedding::from_pretrained(torch::ones({7, 4}));
  const auto copy = std::dynamic_pointer_cast<EmbeddingImpl>(original->clone());
  EXPECT_FALSE(copy->weight.is_alias_of(original->weight));
  EXPECT_FALSE(copy->weight.requires_grad());
  EXPECT_FALSE(original->weight.requires_grad());
}

TEST(NnEmbedding, MaxNormScalesADenseWeightButNotTheOriginalOfAMaskedOne) {
  const at::Tensor indices = torch::tensor({0, 2});
  const at::Tensor table = torch::full({3, 4}, 2.0F);
  Embedding embedding(EmbeddingOptions(3, 4).max_norm(1)._weight(table.clone()));
  const at::Tensor mask = torch::tensor({1, 1, 0, 0}).expand({3, 4}).contiguous();
  register_parametrization(*embedding, "weight", std::make_shared<FakeSparsity>(mask));
  const at::Tensor rows = embedding(indices);
  EXPECT_TRUE(rows.norm(2, -1).allclose(torch::ones({2}), 1e-5));
  EXPECT_TRUE((rows * (1 - mask[0])).eq(0).all().item<bool>());
  EXPECT_TRUE(embedding->weight.equal(table));
  remove_parametrizations(*embedding, "weight", /*leave_parametrized=*/false);
  embedding(indices);
  EXPECT_TRUE(embedding->weight[1].equal(table[1]));
  EXPECT_FALSE(embedding->weight[2].equal(table[2]));
}

struct BagCall {
  at::Tensor input, offsets, per_sample_weights;
};

/// Calls that fit the options, in all overloads.
std::vector<BagCall> calls(const EmbeddingBagOptions& options) {
  const at::Tensor flat = torch::tensor({0, 3, 5, 5, 1, 6}), bags = flat.view({2, 3});
  const at::Tensor offsets =
      options.include_last_offset() ? torch::tensor({0, 2, 2, 6}) : torch::tensor({0, 2, 2});
  std::vector<BagCall> result{{flat, offsets, {}},
                              {flat.to(torch::kInt), offsets.to(torch::kInt), {}}};
  if (!options.include_last_offset()) result.push_back({bags, {}, {}});
  if (std::holds_alternative<torch::enumtype::kSum>(options.mode())) {
    const at::Tensor weights = torch::arange(1.0F, 7.0F);
    result.push_back({flat, offsets, weights});
    if (!options.include_last_offset()) result.push_back({bags, {}, weights.view({2, 3})});
  }
  return result;
}

std::vector<EmbeddingBagOptions> all_bag_options() {
  std::vector<EmbeddingBagOptions> result;
  for (const torch::nn::EmbeddingBagMode& mode :
       std::vector<torch::nn::EmbeddingBagMode>{torch::kSum, torch::kMean, torch::kMax}) {
    for (const bool include_last_offset : {false, true}) {
      for (const std::optional<int64_t> padding_idx : {std::optional<int64_t>(), {5}}) {
        for (const std::optional<double> max_norm : {std::optional<double>(), {1.5}}) {
          result.push_back(EmbeddingBagOptions(7, 4)
                               .mode(mode)
                               .include_last_offset(include_last_offset)
                               .padding_idx(padding_idx)
                               .max_norm(max_norm));
        }
      }
    }
  }
  return result;
}

TEST(NnEmbedding, BagEqualsLibTorchsInEveryModeAndOverload) {
  for (const auto& options : all_bag_options()) {
    torch::nn::EmbeddingBag theirs(options);
    for (const BagCall& call : calls(options)) {
      const torch::nn::EmbeddingBag twin(
          EmbeddingBagOptions(options)._weight(theirs->weight.detach().clone()));
      EmbeddingBag ours(twin);
      const at::Tensor expected = theirs(call.input, call.offsets, call.per_sample_weights);
      EXPECT_TRUE(ours(call.input, call.offsets, call.per_sample_weights).equal(expected))
          << theirs;
    }
  }
}

TEST(NnEmbedding, BagRefusesTheCallsThatLibTorchRefuses) {
  torch::nn::EmbeddingBag theirs(7, 4);
  EmbeddingBag ours(theirs);
  const at::Tensor flat = torch::tensor({0, 3}), bags = flat.view({1, 2}), one = torch::ones({2});
  for (const BagCall& call : std::vector<BagCall>{{flat, {}, {}},
                                                  {bags, torch::tensor({0}), {}},
                                                  {flat, torch::tensor({0}), one},
                                                  {bags, {}, one},
                                                  {bags.view({1, 1, 2}), {}, {}}}) {
    const auto expected =
        error_of([&] { theirs(call.input, call.offsets, call.per_sample_weights); });
    EXPECT_NE(expected, "");
    EXPECT_EQ(error_of([&] { ours(call.input, call.offsets, call.per_sample_weights); }), expected);
  }
}

TEST(NnEmbedding, BagInASequentialTakesOneToThreeArguments) {
  EmbeddingBag bag(EmbeddingBagOptions(7, 4).mode(torch::kSum));
  torch::nn::Sequential model(bag);
  const at::Tensor flat = torch::tensor({0, 3, 5}), offsets = torch::tensor({0, 1});
  const at::Tensor weights = torch::tensor({1.0F, 2.0F, 3.0F});
  EXPECT_TRUE(model->forward(flat.view({1, 3})).equal(bag(flat.view({1, 3}))));
  EXPECT_TRUE(model->forward(flat, offsets).equal(bag(flat, offsets)));
  EXPECT_TRUE(model->forward(flat, offsets, weights).equal(bag(flat, offsets, weights)));
}

TEST(NnEmbedding, PaddingRowGetsNoGradientWhileMasked) {
  Embedding embedding(EmbeddingOptions(7, 4).padding_idx(2));
  const at::Tensor mask = torch::ones({7, 4});
  mask[3].zero_();
  register_parametrization(*embedding, "weight", std::make_shared<FakeSparsity>(mask));
  embedding(torch::tensor({1, 2, 3})).sum().backward();
  const at::Tensor touched = torch::zeros({7, 4});
  touched[1].fill_(1);
  EXPECT_TRUE(embedding->weight.grad().equal(touched));
}

}  // namespace
}  // namespace winnow::nn
