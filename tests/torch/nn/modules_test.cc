// What winnow::nn::Embedding, EmbeddingBag and Linear have in common: they are torch::nn's, and can
// be masked in place. Each test runs for all three.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <sstream>

#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/nn/linear.h"

namespace winnow::nn {
namespace {

struct EmbeddingCase {
  using Ours = Embedding;
  using Theirs = torch::nn::Embedding;
  static std::vector<EmbeddingOptions> options() {
    return {EmbeddingOptions(7, 4), EmbeddingOptions(7, 4).padding_idx(3),
            EmbeddingOptions(7, 4).padding_idx(-2).max_norm(1.5).norm_type(3),
            EmbeddingOptions(7, 4).scale_grad_by_freq(true), EmbeddingOptions(7, 4).sparse(true)};
  }
  static at::Tensor input() { return torch::tensor({0, 3, 5, 5, 1, 6}).view({2, 3}); }
};

struct EmbeddingBagCase {
  using Ours = EmbeddingBag;
  using Theirs = torch::nn::EmbeddingBag;
  static std::vector<EmbeddingBagOptions> options() {
    return {EmbeddingBagOptions(7, 4),
            EmbeddingBagOptions(7, 4).mode(torch::kSum).padding_idx(3),
            EmbeddingBagOptions(7, 4).padding_idx(-2).max_norm(1.5).norm_type(3),
            EmbeddingBagOptions(7, 4).mode(torch::kMax).include_last_offset(true),
            EmbeddingBagOptions(7, 4).scale_grad_by_freq(true),
            EmbeddingBagOptions(7, 4).mode(torch::kSum).sparse(true)};
  }
  static at::Tensor input() { return EmbeddingCase::input(); }
};

struct LinearCase {
  using Ours = Linear;
  using Theirs = torch::nn::Linear;
  static std::vector<LinearOptions> options() {
    return {LinearOptions(4, 7), LinearOptions(4, 7).bias(false)};
  }
  static at::Tensor input() { return torch::arange(12.0F).view({3, 4}); }
};

template <typename Case>
class NnModule : public ::testing::Test {};
using Cases = ::testing::Types<EmbeddingCase, EmbeddingBagCase, LinearCase>;
TYPED_TEST_SUITE(NnModule, Cases);

template <typename Holder>
std::string text_of(const Holder& module) {
  std::ostringstream text;
  text << module;
  return text.str();
}

template <typename Case>
typename Case::Ours first_module() {
  torch::manual_seed(1);
  return typename Case::Ours(Case::options()[0]);
}

/// Drops every second value.
at::Tensor checkered(const at::Tensor& weight) {
  return torch::arange(weight.numel()).remainder(2).view(weight.sizes());
}

template <typename Holder>
at::Tensor mask_weight(Holder& module) {
  const at::Tensor mask = checkered(module->weight);
  register_parametrization(*module, "weight", std::make_shared<FakeSparsity>(mask));
  return mask;
}

/// The parameters by name and their values.
void expect_same_state(const torch::nn::Module& a, const torch::nn::Module& b) {
  const auto left = a.named_parameters(), right = b.named_parameters();
  EXPECT_EQ(left.keys(), right.keys());
  for (const auto& parameter : left) {
    EXPECT_TRUE(parameter.value().equal(right[parameter.key()])) << parameter.key();
    EXPECT_EQ(parameter->requires_grad(), right[parameter.key()].requires_grad());
  }
}

TYPED_TEST(NnModule, DrawsLibTorchsValuesForTheSameSeed) {
  for (const auto& options : TypeParam::options()) {
    torch::manual_seed(42);
    typename TypeParam::Theirs theirs(options);
    theirs->reset_parameters();
    const at::Tensor next = torch::rand({3});
    torch::manual_seed(42);
    typename TypeParam::Ours ours(options);
    ours->reset_parameters();
    expect_same_state(*theirs, *ours);
    EXPECT_TRUE(torch::rand({3}).equal(next));
  }
}

TYPED_TEST(NnModule, PrintsAsLibTorchs) {
  for (const auto& options : TypeParam::options()) {
    const std::string theirs = text_of(typename TypeParam::Theirs(options));
    const std::string ours = text_of(typename TypeParam::Ours(options));
    EXPECT_EQ(ours, "winnow" + theirs.substr(5));
  }
}

TYPED_TEST(NnModule, ComputesWhatLibTorchsDoesWithItsGradient) {
  for (const auto& options : TypeParam::options()) {
    typename TypeParam::Theirs theirs(options);
    typename TypeParam::Ours ours(typename TypeParam::Theirs(
        std::dynamic_pointer_cast<typename TypeParam::Theirs::ContainedType>(theirs->clone())));
    const at::Tensor expected = theirs(TypeParam::input());
    const at::Tensor actual = ours(TypeParam::input());
    EXPECT_TRUE(actual.equal(expected)) << text_of(theirs);
    const at::Tensor slope = torch::arange(static_cast<float>(expected.numel()));
    expected.backward(slope.view(expected.sizes()));
    actual.backward(slope.view(actual.sizes()));
    EXPECT_EQ(ours->weight.grad().layout(), theirs->weight.grad().layout());
    EXPECT_TRUE(ours->weight.grad().to_dense().equal(theirs->weight.grad().to_dense()));
    EXPECT_TRUE(ours->weight.equal(theirs->weight));  // max_norm scales rows
  }
}

TYPED_TEST(NnModule, TakesOverAModuleOfLibTorch) {
  typename TypeParam::Theirs theirs(TypeParam::options()[1]);
  theirs->eval();
  theirs->weight.set_requires_grad(false);
  const typename TypeParam::Ours by_holder(theirs), by_reference(*theirs), by_pointer(theirs.ptr());
  for (const auto& ours : {by_holder, by_reference, by_pointer}) {
    EXPECT_TRUE(ours->weight.is_same(theirs->weight));
    EXPECT_TRUE(ours->named_parameters()["weight"].is_same(theirs->weight));
    EXPECT_FALSE(ours->weight.requires_grad());
    EXPECT_FALSE(ours->is_training());
    EXPECT_EQ(text_of(ours), "winnow" + text_of(theirs).substr(5));
  }
  EXPECT_ANY_THROW(typename TypeParam::Ours(typename TypeParam::Theirs(nullptr)));
}

TYPED_TEST(NnModule, SharesArchivesWithLibTorchs) {
  typename TypeParam::Theirs theirs(TypeParam::options()[0]),
      theirs_loaded(TypeParam::options()[0]);
  typename TypeParam::Ours ours(TypeParam::options()[0]);
  std::stringstream from_theirs, from_ours;
  torch::save(theirs, from_theirs);
  torch::load(ours, from_theirs);
  expect_same_state(*ours, *theirs);
  torch::save(ours, from_ours);
  torch::load(theirs_loaded, from_ours);
  expect_same_state(*theirs_loaded, *ours);
}

TYPED_TEST(NnModule, IsMaskedInPlace) {
  auto module = first_module<TypeParam>();
  const at::Tensor weight = module->weight, dense = module(TypeParam::input());
  EXPECT_EQ(module->storage()->kind(), "dense");
  EXPECT_TRUE(module->storage()->weight().is_same(weight));
  const at::Tensor mask = mask_weight(module);
  EXPECT_EQ(module->storage()->kind(), "masked");
  EXPECT_TRUE(module->storage()->weight().equal(weight * mask));
  EXPECT_TRUE(module->weight.is_same(weight));

  auto expected = first_module<TypeParam>();
  {
    torch::NoGradGuard no_grad;
    expected->weight.mul_(mask);
  }
  EXPECT_TRUE(module(TypeParam::input()).equal(expected(TypeParam::input())));
  mask.fill_(1);  // the very tensor that was handed in
  EXPECT_TRUE(module(TypeParam::input()).equal(dense));
  remove_parametrizations(*module, "weight");
  EXPECT_EQ(module->storage()->kind(), "dense");
  EXPECT_TRUE(module->weight.is_same(weight));
}

TYPED_TEST(NnModule, GivesDroppedValuesNoGradientAndKeepsItsOptimizer) {
  auto module = first_module<TypeParam>();
  torch::optim::SGD optimizer(module->parameters(), 0.5);
  const at::Tensor before = module->weight.detach().clone();
  const at::Tensor mask = mask_weight(module);
  module(TypeParam::input()).sum().backward();
  const at::Tensor gradient = module->weight.grad();
  EXPECT_TRUE((gradient * (1 - mask)).eq(0).all().template item<bool>());
  EXPECT_TRUE((gradient * mask).ne(0).any().template item<bool>());
  optimizer.step();
  EXPECT_TRUE(module->weight.equal(before - 0.5 * gradient));
  remove_parametrizations(*module, "weight");
  const at::Tensor squashed = module->weight.detach().clone();
  EXPECT_TRUE((squashed * (1 - mask)).eq(0).all().template item<bool>());
  optimizer.zero_grad();
  module(TypeParam::input()).sum().backward();
  optimizer.step();
  EXPECT_FALSE(module->weight.equal(squashed));
}

class Halve : public Parametrization {
 public:
  at::Tensor forward(const at::Tensor& original) override { return original * 0.5; }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<at::Device>&) const override {
    return std::make_shared<Halve>();
  }
};

TYPED_TEST(NnModule, ReadsChainsOfParametrizationsOfAUsersOwn) {
  auto module = first_module<TypeParam>();
  register_parametrization(*module, "weight", std::make_shared<Halve>());
  EXPECT_EQ(module->storage()->kind(), "parametrized");
  const at::Tensor mask = mask_weight(module);
  register_parametrization(*module, "weight", std::make_shared<Halve>());
  EXPECT_EQ(module->storage()->kind(), "masked");
  const at::Tensor read = module->weight * 0.25 * mask;
  EXPECT_TRUE(module->storage()->weight().equal(read));
  module(TypeParam::input()).sum().backward();
  const at::Tensor gradient = module->weight.grad().clone();
  remove_parametrizations(*module, "weight");
  module->zero_grad();
  module(TypeParam::input()).sum().backward();
  EXPECT_TRUE(gradient.equal(module->weight.grad() * 0.25 * mask));
}

TYPED_TEST(NnModule, ClonesWithTensorsOfItsOwnAndItsMask) {
  for (const bool masked : {false, true}) {
    auto module = first_module<TypeParam>();
    module->eval();
    if (masked) mask_weight(module);
    auto copy = typename TypeParam::Ours(
        std::dynamic_pointer_cast<typename TypeParam::Ours::ContainedType>(module->clone()));
    EXPECT_FALSE(copy->is_training());
    EXPECT_EQ(copy->storage()->kind(), module->storage()->kind());
    expect_same_state(*copy, *module);
    EXPECT_TRUE(copy(TypeParam::input()).equal(module(TypeParam::input())));
    EXPECT_FALSE(copy->weight.is_alias_of(module->weight));
    const std::string name = masked ? "parametrizations.weight.original" : "weight";
    EXPECT_TRUE(copy->named_parameters()[name].is_same(copy->weight));
    {
      torch::NoGradGuard no_grad;
      copy->weight.zero_();
    }
    EXPECT_FALSE(copy(TypeParam::input()).equal(module(TypeParam::input())));
  }
}

TYPED_TEST(NnModule, CloneOfAFrozenModuleSharesNothingAndStaysFrozen) {
  auto module = first_module<TypeParam>();
  module->weight.set_requires_grad(false);
  const auto copy = std::dynamic_pointer_cast<typename TypeParam::Ours::ContainedType>(
      typename TypeParam::Ours(module)->clone());
  EXPECT_FALSE(copy->weight.requires_grad());
  EXPECT_FALSE(module->weight.requires_grad());
  EXPECT_TRUE(copy->weight.equal(module->weight));
}

template <typename Case>
class ParentImpl : public torch::nn::Cloneable<ParentImpl<Case>> {
 public:
  ParentImpl() { reset(); }
  void reset() override {
    child = this->register_module("child", typename Case::Ours(Case::options()[0]));
  }
  typename Case::Ours child = nullptr;
};

TYPED_TEST(NnModule, ClonesInsideItsParents) {
  auto parent = std::make_shared<ParentImpl<TypeParam>>();
  mask_weight(parent->child);
  const auto copy = std::dynamic_pointer_cast<ParentImpl<TypeParam>>(parent->clone());
  ASSERT_NE(copy, nullptr);
  expect_same_state(*copy, *parent);
  EXPECT_EQ(copy->child->storage()->kind(), "masked");
  EXPECT_FALSE(copy->child->weight.is_alias_of(parent->child->weight));
  EXPECT_TRUE(copy->child(TypeParam::input()).equal(parent->child(TypeParam::input())));
  remove_parametrizations(*copy->child, "weight");
  EXPECT_EQ(parent->child->storage()->kind(), "masked");
  EXPECT_FALSE(copy->child->weight.equal(parent->child->weight));
  EXPECT_THAT(copy->named_parameters().keys(), ::testing::Contains("child.weight"));
}

TYPED_TEST(NnModule, SavesAndLoadsMaskedWithoutItsMask) {
  auto saved = first_module<TypeParam>();
  mask_weight(saved);
  std::stringstream archive;
  torch::save(saved, archive);

  typename TypeParam::Ours loaded(TypeParam::options()[0]);
  const at::Tensor weight = loaded->weight, ones = torch::ones_like(weight);
  register_parametrization(*loaded, "weight", std::make_shared<FakeSparsity>(ones));
  torch::load(loaded, archive);
  EXPECT_TRUE(loaded->weight.is_same(weight));
  EXPECT_TRUE(loaded->weight.equal(saved->weight));
  EXPECT_TRUE(loaded->storage()->weight().equal(saved->weight));  // the mask it had: ones
}

TYPED_TEST(NnModule, ConvertsItsTypeWhileMasked) {
  for (const bool masked : {false, true}) {
    auto module = first_module<TypeParam>();
    const at::Tensor weight = module->weight, before = weight.detach().clone();
    if (masked) mask_weight(module);
    module->to(torch::kDouble);
    EXPECT_TRUE(module->weight.is_same(weight));
    EXPECT_TRUE(module->weight.equal(before.to(torch::kDouble)));
    const at::Tensor input = TypeParam::input();
    const at::Tensor y = module(input.is_floating_point() ? input.to(torch::kDouble) : input);
    EXPECT_EQ(y.scalar_type(), torch::kDouble);
  }
}

TYPED_TEST(NnModule, WorksInASequential) {
  auto module = first_module<TypeParam>();
  torch::nn::Sequential model(module, torch::nn::ReLU());
  EXPECT_TRUE(model->forward(TypeParam::input()).equal(module(TypeParam::input()).relu()));
  mask_weight(module);
  EXPECT_TRUE(model->forward(TypeParam::input()).equal(module(TypeParam::input()).relu()));
  model->eval();
  EXPECT_FALSE(module->is_training());
  const auto copy = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(model->clone());
  EXPECT_TRUE(copy->forward(TypeParam::input()).equal(model->forward(TypeParam::input())));
}

TYPED_TEST(NnModule, IsNotChangedByAParametrizationThatFails) {
  auto module = first_module<TypeParam>();
  const at::Tensor weight = module->weight, before = weight.detach().clone();
  EXPECT_THROW(register_parametrization(*module, "weight",
                                        std::make_shared<FakeSparsity>(torch::ones({1, 4}))),
               AssertionError);
  EXPECT_THROW(remove_parametrizations(*module, "weight"), c10::ValueError);
  EXPECT_EQ(module->storage()->kind(), "dense");
  EXPECT_TRUE(module->named_parameters()["weight"].is_same(weight));
  EXPECT_TRUE(module->weight.equal(before));
}

}  // namespace
}  // namespace winnow::nn
