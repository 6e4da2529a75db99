// The parametrization facility on a module of a user's own; tests/torch/nn_*_test.cc has
// winnow::nn.
#include "winnow/torch/parametrization.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <sstream>
#include <typeindex>

#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"

namespace winnow {
namespace {

class ScaledImpl : public ParametrizableModule<ScaledImpl> {
 public:
  ScaledImpl() { reset(); }
  void reset() override {
    weight = register_parameter("weight", torch::tensor({1.0F, -2.0F, 3.0F}));
    shift = register_buffer("shift", torch::zeros({3}));
  }
  at::Tensor forward(const at::Tensor& x) { return x * read("weight") + read("shift"); }

  at::Tensor weight, shift;
};
TORCH_MODULE(Scaled);

class Add : public Parametrization {
 public:
  explicit Add(float amount) { amount_ = register_buffer("amount", torch::full({1}, amount)); }
  at::Tensor forward(const at::Tensor& original) override { return original + amount_; }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<at::Device>&) const override {
    return std::make_shared<Add>(amount_.item<float>());
  }

 private:
  at::Tensor amount_;
};

class ToDouble : public Parametrization {
 public:
  at::Tensor forward(const at::Tensor& original) override { return original.to(torch::kDouble); }
};

class FirstOnly : public Parametrization {
 public:
  at::Tensor forward(const at::Tensor& original) override { return original.slice(0, 0, 1); }
};

std::shared_ptr<FakeSparsity> mask_of(std::vector<float> mask) {
  return std::make_shared<FakeSparsity>(torch::tensor(mask));
}

TEST(Parametrization, IsSeenByForwardAndAutograd) {
  Scaled module;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  const at::Tensor y = module(torch::ones({3}));
  EXPECT_TRUE(y.equal(torch::tensor({1.0F, 0.0F, 3.0F})));
  y.sum().backward();
  EXPECT_TRUE(module->weight.grad().equal(torch::tensor({1.0F, 0.0F, 1.0F})));
}

TEST(Parametrization, NamesTheOriginalAsPythonDoes) {
  Scaled module;
  const at::Tensor weight = module->weight;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  register_parametrization(*module, "shift", mask_of({1, 1, 0}));
  const auto parameters = module->named_parameters();
  EXPECT_THAT(parameters.keys(), ::testing::ElementsAre("parametrizations.weight.original"));
  EXPECT_TRUE(parameters[0].value().is_same(weight));
  EXPECT_THAT(
      module->named_buffers().keys(),
      ::testing::ElementsAre("parametrizations.weight.0.mask", "parametrizations.shift.original",
                             "parametrizations.shift.0.mask"));
  EXPECT_TRUE(is_parametrized(*module));
  EXPECT_TRUE(is_parametrized(*module, "shift"));
  EXPECT_FALSE(is_parametrized(*module, "other"));
  remove_parametrizations(*module, "shift");
  EXPECT_FALSE(is_parametrized(*module, "shift"));
  EXPECT_THAT(module->named_buffers().keys(),
              ::testing::ElementsAre("shift", "parametrizations.weight.0.mask"));
  remove_parametrizations(*module, "weight");
  EXPECT_TRUE(module->children().empty());
  EXPECT_THAT(module->named_parameters().keys(), ::testing::ElementsAre("weight"));
}

TEST(Parametrization, ChainsRunInTheOrderOfRegistration) {
  Scaled module;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  register_parametrization(*module, "weight", std::make_shared<Add>(10));
  EXPECT_TRUE(module->read("weight").equal(torch::tensor({11.0F, 10.0F, 13.0F})));
  EXPECT_EQ(module->parametrizations("weight")->size(), 2u);
  EXPECT_THAT(module->named_buffers().keys(),
              ::testing::Contains("parametrizations.weight.1.amount"));
}

TEST(Parametrization, RemovingKeepsTheTensorObjectWithEitherValues) {
  for (const bool leave : {true, false}) {
    Scaled module;
    torch::optim::SGD optimizer(module->parameters(), 1.0);
    const at::Tensor before = module->weight, view = before.detach().view({3});
    register_parametrization(*module, "weight", mask_of({1, 0, 1}));
    remove_parametrizations(*module, "weight", leave);
    EXPECT_TRUE(module->weight.is_same(before));
    EXPECT_TRUE(before.requires_grad());
    EXPECT_EQ(before[1].item<float>(), leave ? 0 : -2);
    EXPECT_TRUE(view.equal(before)) << "what shares the memory has other values";
    module(torch::ones({3})).sum().backward();
    optimizer.step();
    EXPECT_EQ(module->weight[2].item<float>(), 2);
  }
}

// The module's own part is made anew where a buffer leaves it: nothing else may be lost.
TEST(Parametrization, OfABufferKeepsEveryOtherMember) {
  Scaled module;
  module->register_parameter("absent", at::Tensor(), /*requires_grad=*/false);
  module->register_module("child", torch::nn::Linear(1, 1));
  module->eval();
  register_parametrization(*module, "shift", mask_of({1, 1, 0}));
  remove_parametrizations(*module, "shift");
  EXPECT_FALSE(module->is_training());
  EXPECT_THAT(module->named_children().keys(), ::testing::ElementsAre("child"));
  EXPECT_THAT(module->named_parameters(/*recurse=*/false).keys(), ::testing::ElementsAre("weight"));
  // LibTorch lists no undefined parameter, but refuses its name a second time.
  EXPECT_THROW(module->register_parameter("absent", at::Tensor(), false), c10::Error);
}

TEST(Parametrization, RemovingRefusesValuesThatShareAPlace) {
  Scaled module;
  module->weight.set_data(torch::ones({1}).expand({3}));
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  EXPECT_THAT(
      testing::message_of<c10::ValueError>([&] { remove_parametrizations(*module, "weight"); }),
      HasSubstr("'weight' of"));
  EXPECT_TRUE(is_parametrized(*module, "weight"));
  remove_parametrizations(*module, "weight", /*leave_parametrized=*/false);
}

TEST(Parametrization, RefusesWhatCannotWorkAndChangesNothing) {
  Scaled module;
  EXPECT_THROW(register_parametrization(*module, "wieght", mask_of({1, 0, 1})), KeyError);
  EXPECT_THROW(register_parametrization(*module, "weight", nullptr), c10::ValueError);
  EXPECT_THROW(register_parametrization(*module, "weight", mask_of({1, 0})), AssertionError);
  EXPECT_THROW(register_parametrization(*module, "weight", std::make_shared<ToDouble>()),
               c10::ValueError);
  EXPECT_THROW(register_parametrization(*module, "weight", std::make_shared<FirstOnly>()),
               c10::ValueError);
  EXPECT_THROW(remove_parametrizations(*module, "weight"), c10::ValueError);
  EXPECT_THROW(FakeSparsity{at::Tensor()}, AssertionError);
  EXPECT_FALSE(is_parametrized(*module));
  EXPECT_TRUE(module->children().empty());
  EXPECT_THAT(module->named_parameters().keys(), ::testing::ElementsAre("weight"));
}

TEST(Parametrization, OfALibTorchModuleNamesTheReplacement) {
  torch::nn::Embedding embedding(3, 2);
  try {
    register_parametrization(*embedding, "weight",
                             std::make_shared<FakeSparsity>(torch::ones({3, 2})));
    FAIL() << "a torch::nn::Embedding was parametrized";
  } catch (const c10::TypeError& error) {
    EXPECT_THAT(error.what_without_backtrace(), ::testing::HasSubstr("winnow::nn::Embedding"));
  }
  EXPECT_FALSE(is_parametrized(*embedding));
}

TEST(Parametrization, CloneCopiesTheChains) {
  Scaled module;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  register_parametrization(*module, "weight", std::make_shared<Add>(10));
  const auto copy = std::dynamic_pointer_cast<ScaledImpl>(module->clone());
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(is_parametrized(*module, "weight"));
  EXPECT_TRUE(copy->read("weight").equal(torch::tensor({11.0F, 10.0F, 13.0F})));
  EXPECT_FALSE(copy->weight.is_same(module->weight));
  {
    at::NoGradGuard no_grad;
    module->weight.fill_(7);
    dynamic_cast<FakeSparsity&>(*(*module->parametrizations("weight"))[0]).mask.fill_(0);
  }
  EXPECT_TRUE(copy->read("weight").equal(torch::tensor({11.0F, 10.0F, 13.0F})));
  EXPECT_TRUE(copy->weight.equal(torch::tensor({1.0F, -2.0F, 3.0F})));
  remove_parametrizations(*copy, "weight");
  EXPECT_TRUE(copy->weight.equal(torch::tensor({11.0F, 10.0F, 13.0F})));
}

TEST(Parametrization, SaveAndLoadLeaveTheMaskOut) {
  Scaled module, other;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  register_parametrization(*other, "weight", mask_of({0, 0, 1}));
  {
    at::NoGradGuard no_grad;
    other->weight.fill_(9);
  }
  std::stringstream file;
  torch::save(module, file);
  torch::load(other, file);
  EXPECT_TRUE(other->weight.equal(module->weight));
  EXPECT_TRUE(other->read("weight").equal(torch::tensor({0.0F, 0.0F, 3.0F})));
}

TEST(Parametrization, KeepsTheClassOfTheModule) {
  Scaled module;
  register_parametrization(*module, "weight", mask_of({1, 0, 1}));
  const torch::nn::Module& parametrized = *module;
  EXPECT_EQ(std::type_index(typeid(parametrized)), std::type_index(typeid(ScaledImpl)));
}

}  // namespace
}  // namespace winnow
