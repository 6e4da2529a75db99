// What upstream's tests of quantization check, on models of their shape.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "winnow/torch/module_utils.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/quantization.h"

namespace winnow {
namespace {

/// Two embeddings by members and two in a Sequential, and two Linears.
struct UpstreamModelImpl : torch::nn::Module {
  UpstreamModelImpl() {
    torch::manual_seed(7);
    first = register_module("first", nn::Embedding(100, 3));
    bag = register_module("bag", nn::EmbeddingBag(200, 32));
    list = register_module("list", torch::nn::Sequential(torch::nn::Embedding(150, 3),
                                                         torch::nn::EmbeddingBag(100, 3)));
    hidden = register_module("hidden", torch::nn::Linear(32, 32));
    output = register_module("output", torch::nn::Linear(16, 16));
  }

  nn::Embedding first = nullptr;
  nn::EmbeddingBag bag = nullptr;
  torch::nn::Sequential list = nullptr;
  torch::nn::Linear hidden = nullptr, output = nullptr;
};
TORCH_MODULE(UpstreamModel);

const DataNormSparsifierOptions kLevel{.sparsity_level = 0.8, .sparse_block_shape = {1, 1}};

bool is_quantized(UpstreamModelImpl& model, const std::string& name) {
  const auto* module = dynamic_cast<nn::Quantizable*>(fqn_to_module(model, name));
  return module != nullptr && module->is_quantized();
}

/// The share of all values of these modules that are smaller than `bound`.
double share_below(double bound, UpstreamModelImpl& model, const std::vector<std::string>& names) {
  double below = 0, all = 0;
  for (const std::string& name : names) {
    const at::Tensor weight =
        dynamic_cast<nn::Quantizable&>(*fqn_to_module(model, name)).storage()->weight();
    below += weight.abs().lt(bound).sum().item<double>();
    all += static_cast<double>(weight.numel());
  }
  return below / all;
}

// Level 0.8 of single values, whose number is a multiple of 5 in all four: 80 % exactly, and those
// values that are small of themselves besides. Upstream allows 5 % for them.
constexpr double kUpstreamsTolerance = 0.05;

TEST(TestQuantizationUtils, TestPtqSparsifyFirst) {
  UpstreamModel model;
  const std::vector<std::string> selected = {"bag", "first"}, others = {"list.0", "list.1"};
  post_training_sparse_quantize(
      *model, kLevel, {.sparsify_first = true, .select_embeddings = {{model->bag, model->first}}});
  for (const std::string& name : selected) EXPECT_TRUE(is_quantized(*model, name));
  for (const std::string& name : others) EXPECT_FALSE(is_quantized(*model, name));
  EXPECT_NE(model->list->ptr(0)->as<torch::nn::Embedding>(), nullptr);
  EXPECT_EQ(model->named_parameters()["hidden.weight"].scalar_type(), torch::kFloat);
  EXPECT_NEAR(share_below(1e-2, *model, selected), 0.8, kUpstreamsTolerance);
  EXPECT_GE(share_below(1e-30, *model, selected), 0.8);  // of ours, exactly
}

TEST(TestQuantizationUtils, TestPtqQuantizeFirst) {
  UpstreamModel model;
  const std::vector<std::string> all = {"first", "bag", "list.0", "list.1"};
  post_training_sparse_quantize(*model, kLevel, {.sparsify_first = false});
  for (const std::string& name : all) EXPECT_TRUE(is_quantized(*model, name));
  EXPECT_EQ(model->named_parameters()["output.weight"].scalar_type(), torch::kFloat);
  EXPECT_NEAR(share_below(1, *model, all), 0.8, kUpstreamsTolerance);
  EXPECT_GE(share_below(1e-30, *model, all), 0.8);
}

TEST(TestQuantizationUtils, TestPtqQuantizeFirstUnderUpstreamsPolicy) {
  UpstreamModel model;
  const std::vector<std::string> all = {"first", "bag", "list.0", "list.1"};
  post_training_sparse_quantize(
      *model, kLevel, {.sparsify_first = false, .zero_policy = nn::ZeroPolicy::kUpstream});
  EXPECT_NEAR(share_below(1, *model, all), 0.8, kUpstreamsTolerance);
  EXPECT_LT(share_below(1e-30, *model, all), 0.8);  // which is why the bound is 1
}

}  // namespace
}  // namespace winnow
