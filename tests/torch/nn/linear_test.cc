// Masks on Linear: its bias, and what upstream's TestFakeSparsity checks, under its names.
#include "winnow/torch/nn/linear.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <sstream>

#include "winnow/torch/fake_sparsity.h"

namespace winnow::nn {
namespace {

using ::testing::ElementsAre;

TEST(NnLinear, HasAWeightAndABiasThatCanBeMaskedApart) {
  Linear linear(4, 3);
  const at::Tensor bias = linear->bias, x = torch::arange(8.0F).view({2, 4});
  const at::Tensor bias_mask = torch::tensor({1, 0, 1});
  register_parametrization(*linear, "bias", std::make_shared<FakeSparsity>(bias_mask));
  EXPECT_EQ(linear->storage()->kind(), "dense");
  EXPECT_TRUE(linear(x).equal(torch::linear(x, linear->weight, bias * bias_mask)));
  linear(x).sum().backward();
  EXPECT_TRUE(bias.grad().equal(torch::tensor({2.0F, 0.0F, 2.0F})));

  const auto copy = std::dynamic_pointer_cast<LinearImpl>(linear->clone());
  EXPECT_TRUE(copy->forward(x).equal(linear(x)));
  EXPECT_FALSE(copy->bias.is_alias_of(bias));
  remove_parametrizations(*linear, "bias");
  EXPECT_TRUE(linear->bias.is_same(bias));
  EXPECT_EQ(bias[1].item<float>(), 0);
}

TEST(NnLinear, WithoutABiasClonesAndIsMasked) {
  Linear linear(LinearOptions(4, 3).bias(false));
  EXPECT_FALSE(linear->bias.defined());
  EXPECT_THAT(linear->named_parameters().keys(), ElementsAre("weight"));
  register_parametrization(*linear, "weight",
                           std::make_shared<FakeSparsity>(torch::eye(4).slice(0, 0, 3)));
  const auto copy = std::dynamic_pointer_cast<LinearImpl>(linear->clone());
  const at::Tensor x = torch::arange(4.0F);
  EXPECT_FALSE(copy->bias.defined());
  EXPECT_TRUE(copy->forward(x).equal(linear(x)));
}

TEST(NnLinear, RefusesAParametrizationOfTheBiasThatItHasNot) {
  Linear linear(LinearOptions(4, 3).bias(false));
  EXPECT_ANY_THROW(
      register_parametrization(*linear, "bias", std::make_shared<FakeSparsity>(torch::ones({3}))));
  EXPECT_FALSE(is_parametrized(*linear));
}

/// Upstream's ModelUnderTest: three layers, two of them in a Sequential.
struct ModelUnderTestImpl : torch::nn::Module {
  ModelUnderTestImpl()
      : linear(register_module("linear", Linear(no_bias()))),
        seq(register_module("seq", torch::nn::Sequential(Linear(no_bias()), Linear(no_bias())))) {}
  static LinearOptions no_bias() { return LinearOptions(16, 16).bias(false); }
  at::Tensor forward(const at::Tensor& x) { return seq->forward(linear(x)); }
  std::vector<LinearImpl*> layers() {
    return {linear.get(), &seq->at<LinearImpl>(0), &seq->at<LinearImpl>(1)};
  }

  Linear linear;
  torch::nn::Sequential seq;
};
TORCH_MODULE(ModelUnderTest);

void add_masks(ModelUnderTest& model) {
  for (LinearImpl* layer : model->layers()) {
    const at::Tensor mask = torch::rand({16, 16}).lt(0.5);
    register_parametrization(*layer, "weight", std::make_shared<FakeSparsity>(mask));
  }
}

const at::Tensor& mask_of(const LinearImpl& layer) {
  return dynamic_cast<const FakeSparsity&>(*(*layer.parametrizations("weight"))[0]).mask;
}

TEST(FakeSparsity, TestMaskingLogic) {
  Linear model(LinearOptions(16, 16).bias(false));
  {
    torch::NoGradGuard no_grad;
    model->weight.copy_(torch::eye(16));
  }
  const at::Tensor x = torch::randn({3, 16});
  EXPECT_TRUE(model(x).equal(x));
  register_parametrization(*model, "weight",
                           std::make_shared<FakeSparsity>(torch::zeros({16, 16})));
  EXPECT_TRUE(model(x).equal(torch::zeros({3, 16})));
}

TEST(FakeSparsity, TestWeightsParametrized) {
  ModelUnderTest model;
  for (const LinearImpl* layer : model->layers()) EXPECT_FALSE(is_parametrized(*layer, "weight"));
  add_masks(model);
  for (const LinearImpl* layer : model->layers()) EXPECT_TRUE(is_parametrized(*layer, "weight"));
}

TEST(FakeSparsity, TestStateDictPreserved) {
  torch::manual_seed(7);
  ModelUnderTest saved, loaded;
  add_masks(saved);
  add_masks(loaded);
  std::stringstream archive;
  torch::save(saved, archive);
  torch::load(loaded, archive);
  for (size_t i = 0; i < 3; ++i) {
    const LinearImpl &from = *saved->layers()[i], &to = *loaded->layers()[i];
    EXPECT_TRUE(is_parametrized(to, "weight"));
    EXPECT_TRUE(to.weight.equal(from.weight));
    EXPECT_FALSE(mask_of(to).equal(mask_of(from)));  // not saved
  }
}

}  // namespace
}  // namespace winnow::nn
