// post_training_sparse_quantize: what becomes of the modules.
#include "winnow/torch/quantization.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <sstream>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/quantized_models.h"
#include "torch/quantized_tables.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow {
namespace {

using nn::ZeroPolicy;
using ::testing::ElementsAre;
using testing::holds;
using ::testing::IsEmpty;
using testing::kEightOfTen;
using testing::Model;
using testing::pruned_table;
using testing::quantized;
using testing::same_bits;
using testing::text_of;
using testing::values;

template <typename Bag>
void expect_golden(const nlohmann::json& c) {
  const auto& expected = c["upstream"];
  const at::Tensor weight = torch::tensor(c["weight"].get<std::vector<float>>()).view({8, 4});
  torch::nn::Sequential model(Bag::from_pretrained(weight.clone()));
  post_training_sparse_quantize(
      *model,
      {.sparsity_level = c["level"].get<double>(),
       .sparse_block_shape = {c["block"][0].get<int64_t>(), c["block"][1].get<int64_t>()}},
      {.sparsify_first = c["id"].get<std::string>().ends_with("sparsify_first"),
       .zero_policy = ZeroPolicy::kUpstream});
  const nn::QuantizedWeight got = quantized(*model, "0").quantized_weight();
  EXPECT_TRUE(same_bits(got.scales, torch::tensor(expected["scales"].get<std::vector<float>>())));
  EXPECT_TRUE(
      got.zero_points.equal(torch::tensor(expected["zero_points"].get<std::vector<float>>())));
  EXPECT_TRUE(got.codes.equal(
      torch::tensor(expected["int_repr"].get<std::vector<int>>()).to(torch::kByte).view({8, 4})));
  EXPECT_TRUE(
      values(*model, "0")
          .equal(torch::tensor(expected["dequantized"].get<std::vector<float>>()).view({8, 4})));
}

TEST(PostTrainingSparseQuantize, ProducesTorchAoTablesUnderUpstreamsPolicyInBothOrders) {
  int cases = 0;
  for (const auto& c : testing::golden()["quant_cases"]) {
    const auto id = c["id"].get<std::string>();
    SCOPED_TRACE(id);
    if (id.starts_with("emb_")) {
      expect_golden<torch::nn::Embedding>(c);
      expect_golden<nn::Embedding>(c);
    } else if (id.starts_with("bag_")) {
      expect_golden<torch::nn::EmbeddingBag>(c);
      expect_golden<nn::EmbeddingBag>(c);
    }
    ++cases;
  }
  EXPECT_EQ(cases, 5);
}

/// The share of what DataNormSparsifier drops of `weight` that is exactly 0 in `values`.
double share_of_exact_zeros(const at::Tensor& weight, const at::Tensor& values) {
  DataNormSparsifier sparsifier(kEightOfTen);
  sparsifier.add_data("x", weight);
  sparsifier.step();
  const at::Tensor dropped = sparsifier.get_mask("x").eq(0);
  EXPECT_EQ(dropped.sum().item<int64_t>(), weight.numel() * 8 / 10);
  return values.masked_select(dropped).eq(0).to(torch::kDouble).mean().item<double>();
}

TEST(PostTrainingSparseQuantize, AllThatIsPrunedIsExactlyZeroInBothOrders) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    for (const bool sparsify_first : {true, false}) {
      const at::Tensor weight = pruned_table(200, 20, seed);
      torch::nn::Sequential model(nn::Embedding::from_pretrained(weight));
      post_training_sparse_quantize(*model, kEightOfTen, {.sparsify_first = sparsify_first});
      const at::Tensor rounded = nn::dequantize_rows(nn::quantize_rows(weight));
      const at::Tensor seen = sparsify_first ? weight : rounded;  // by the sparsifier
      EXPECT_EQ(share_of_exact_zeros(seen, values(*model, "0")), 1.0);
      EXPECT_EQ(share_of_exact_zeros(seen, model->forward(torch::arange(200))), 1.0);
    }
  }
}

TEST(PostTrainingSparseQuantize, UpstreamsPolicyDoesNotKeepThemZero) {
  torch::manual_seed(1);
  const at::Tensor weight = torch::rand({200, 20}) + 0.1;  // 0 is outside the range of every row
  for (const bool sparsify_first : {true, false}) {
    torch::nn::Sequential model(
        nn::Embedding::from_pretrained(weight - (sparsify_first ? 0.6 : 0)));
    const at::Tensor before = model->ptr<nn::EmbeddingImpl>(0)->weight.clone();
    post_training_sparse_quantize(
        *model, kEightOfTen,
        {.sparsify_first = sparsify_first, .zero_policy = ZeroPolicy::kUpstream});
    EXPECT_LT(share_of_exact_zeros(before, values(*model, "0")), 0.3);
  }
}

TEST(PostTrainingSparseQuantize, ConvertsMembersInPlaceAndSwapsInContainers) {
  const testing::CapturedWarnings warnings;
  Model model;
  model->eval();
  const auto users = model->users.ptr();
  const at::Tensor indices = torch::randint(60, {5, 3}), weight = model->users->weight;
  const at::Tensor before = weight.detach().clone();
  post_training_sparse_quantize(*model, {.sparsity_level = 0.0});
  EXPECT_EQ(model->users.ptr(), users);
  EXPECT_TRUE(model->users->is_quantized() && model->items->is_quantized());
  EXPECT_EQ(text_of(*model->rest->ptr(0)).substr(0, 21), "QuantizedEmbeddingBag");
  EXPECT_EQ(model->rest->named_children()["0"], model->rest->ptr(0));
  EXPECT_NE(model->rest->ptr(1)->as<torch::nn::Linear>(), nullptr);
  EXPECT_THAT(model->named_parameters().keys(), ElementsAre("rest.1.weight", "rest.1.bias"));
  for (const auto& module : model->modules()) EXPECT_FALSE(module->is_training());
  EXPECT_TRUE(weight.equal(before));

  const at::Tensor expected =
      torch::nn::functional::linear(
          values(*model, "rest.0").index_select(0, indices.flatten()).view({5, 3, 8}).mean(1),
          model->named_parameters()["rest.1.weight"], model->named_parameters()["rest.1.bias"]) +
      model->users(indices).sum(1).slice(1, 0, 4) + model->items(indices).slice(1, 0, 4);
  EXPECT_TRUE(model->forward(indices).allclose(expected, 1e-5, 1e-6));
  EXPECT_THAT(warnings.messages(), IsEmpty());
}

TEST(PostTrainingSparseQuantize, SwapsInListsAndDictsToo) {
  struct Containers : torch::nn::Module {
    torch::nn::ModuleList list{register_module(
        "list", torch::nn::ModuleList(torch::nn::Linear(2, 2), torch::nn::Embedding(5, 3)))};
    torch::nn::ModuleDict dict{register_module("dict", torch::nn::ModuleDict())};
  } model;
  model.dict->update(
      {{"a", torch::nn::EmbeddingBag(6, 3).ptr()}, {"b", torch::nn::Embedding(7, 3).ptr()}});
  model.dict["b"]->eval();
  post_training_sparse_quantize(model, kEightOfTen);
  EXPECT_EQ(model.list->ptr(1)->as<nn::Embedding>()->quantized_weight().codes.size(0), 5);
  EXPECT_EQ(model.dict["a"]->as<nn::EmbeddingBag>()->quantized_weight().codes.size(0), 6);
  EXPECT_TRUE(model.dict["a"]->is_training());
  EXPECT_FALSE(model.dict["b"]->is_training());  // the flag goes over
  EXPECT_THAT(model.dict->keys(), ElementsAre("a", "b"));
}

TEST(PostTrainingSparseQuantize, KeepsTheModeAndThePaddingOfBags) {
  const auto options = torch::nn::EmbeddingBagOptions(9, 4)
                           .mode(torch::kMax)
                           .padding_idx(2)
                           .include_last_offset(true);
  torch::nn::Sequential model{torch::nn::EmbeddingBag(options)};
  post_training_sparse_quantize(*model, {.sparsity_level = 0.0});
  torch::nn::EmbeddingBag floats(
      torch::nn::EmbeddingBagOptions(options)._weight(values(*model, "0")));
  const at::Tensor indices = torch::tensor({2, 1, 2, 8, 0}), offsets = torch::tensor({0, 1, 1, 5});
  EXPECT_TRUE(model->forward(indices, offsets, at::Tensor()).equal(floats(indices, offsets)));
}

TEST(PostTrainingSparseQuantize, QuantizesWhatForwardSawOfAMaskedModule) {
  torch::nn::Sequential model(nn::Embedding(10, 4));
  auto& module = *model->ptr<nn::EmbeddingImpl>(0);
  const at::Tensor mask = torch::arange(40).remainder(3).ne(0).view({10, 4}).to(torch::kFloat);
  register_parametrization(module, "weight", std::make_shared<FakeSparsity>(mask));
  const at::Tensor read = module.storage()->weight().detach();
  post_training_sparse_quantize(*model, {.sparsity_level = 0.0});
  EXPECT_TRUE(module.storage()->weight().equal(nn::dequantize_rows(nn::quantize_rows(read))));
  EXPECT_FALSE(is_parametrized(module));
}

TEST(PostTrainingSparseQuantize, RoundsOtherFloatsToF32First) {
  for (const auto dtype : {torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    for (const bool sparsify_first : {true, false}) {
      torch::manual_seed(1);
      const at::Tensor weight = torch::randn({20, 6}).to(dtype);
      torch::nn::Sequential model(torch::nn::Embedding::from_pretrained(weight)),
          floats(torch::nn::Embedding::from_pretrained(weight.to(torch::kFloat)));
      const PostTrainingSparseQuantizeOptions options{.sparsify_first = sparsify_first};
      post_training_sparse_quantize(*model, kEightOfTen, options);
      post_training_sparse_quantize(*floats, kEightOfTen, options);
      EXPECT_TRUE(values(*model, "0").equal(values(*floats, "0")));
    }
  }
}

TEST(PostTrainingSparseQuantize, TakesTablesOfAnyShape) {
  for (const bool sparsify_first : {true, false}) {
    torch::nn::Sequential model(nn::Embedding::from_pretrained(torch::randn({6, 1})),
                                nn::Embedding::from_pretrained(torch::randn({1, 1})),
                                nn::Embedding::from_pretrained(torch::randn({0, 3})),
                                nn::Embedding::from_pretrained(torch::randn({1, 6})));
    post_training_sparse_quantize(*model, {.sparsity_level = 0.5},
                                  {.sparsify_first = sparsify_first});
    EXPECT_EQ(quantized(*model, "2").quantized_weight().codes.sizes(),
              (std::vector<int64_t>{0, 3}));
  }
}

TEST(PostTrainingSparseQuantize, SpendsOneBudgetWhereTheSparsifierDoes) {
  torch::nn::Sequential model(nn::Embedding::from_pretrained(torch::rand({10, 4}) + 2),
                              nn::Embedding::from_pretrained(torch::rand({10, 4})));
  auto options = kEightOfTen;
  options.sparsity_level = 0.5;
  options.scope = Scope::kGlobal;
  post_training_sparse_quantize(*model, options);
  EXPECT_TRUE(holds(values(*model, "0").gt(1)));
  EXPECT_TRUE(holds(values(*model, "1").eq(0)));
}

TEST(PostTrainingSparseQuantize, AModelClonesSavesAndLoadsQuantized) {
  Model model, loaded;
  const c10::InferenceMode mode;
  post_training_sparse_quantize(*model, kEightOfTen);
  post_training_sparse_quantize(*loaded, kEightOfTen);  // gives it the structure
  const at::Tensor indices = torch::randint(60, {5, 3}), expected = model->forward(indices);
  std::stringstream archive;
  torch::save(model, archive);
  torch::load(loaded, archive);
  EXPECT_TRUE(loaded->forward(indices).equal(expected));
  const auto list = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(model->rest->clone());
  EXPECT_TRUE(list->forward(indices).equal(model->rest->forward(indices)));
}

}  // namespace
}  // namespace winnow
