// Names in models and the exchange of modules. What upstream's test_sparsity_utils checks has its
// names here, on C++ models of the same make.
#include "winnow/torch/module_utils.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <nlohmann/json.hpp>

#include "support/golden.h"
#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/nn/linear.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using torch::nn::Module;

/// A model of typed members.
struct TwoLayersImpl : Module {
  TwoLayersImpl()
      : bag(register_module("bag", torch::nn::EmbeddingBag(10, 4))),
        linear(register_module("linear", torch::nn::Linear(4, 3))) {}
  at::Tensor forward(const at::Tensor& indices) { return linear(bag(indices)); }

  torch::nn::EmbeddingBag bag;
  torch::nn::Linear linear;
};
TORCH_MODULE(TwoLayers);

struct LinearFunctionalImpl : Module {
  LinearFunctionalImpl()
      : weight(register_parameter("weight", torch::ones({2, 2}))),
        shift(register_buffer("shift", torch::zeros({2}))) {}
  at::Tensor weight, shift;
};

std::shared_ptr<Module> nested(std::vector<std::shared_ptr<Module>> layers) {
  auto model = std::make_shared<Module>("Model");
  auto sequence = model->register_module("seq", std::make_shared<Module>("Layers"));
  for (size_t i = 0; i < layers.size(); ++i) {
    sequence->register_module(std::to_string(i), layers[i]);
  }
  return model;
}

std::vector<std::shared_ptr<Module>> model_list() {
  using namespace torch::nn;
  return {Conv2d(1, 1, 1).ptr(),
          Linear(4, 4).ptr(),
          nested({Linear(4, 4).ptr(), Linear(4, 4).ptr()}),
          nested({Conv2d(3, 8, 3).ptr(), BatchNorm2d(8).ptr(), ReLU().ptr()}),
          TwoLayers().ptr(),
          nested({winnow::nn::EmbeddingBag(10, 4).ptr(), winnow::nn::Linear(4, 3).ptr()}),
          nested({std::make_shared<LinearFunctionalImpl>()})};
}

TEST(ModuleUtils, TestModuleToFqn) {
  for (const auto& model : model_list()) {
    for (const auto& item : model->named_modules("", /*include_self=*/false)) {
      EXPECT_EQ(module_to_fqn(*model, *item.value()), item.key());
    }
  }
}

TEST(ModuleUtils, TestModuleToFqnFail) {
  const torch::nn::Linear foreign(4, 4);
  for (const auto& model : model_list()) {
    EXPECT_EQ(module_to_fqn(*model, *foreign), std::nullopt);
    EXPECT_EQ(module_to_fqn(*model, *foreign, "pre."), std::nullopt);
  }
}

TEST(ModuleUtils, TestModuleToFqnRoot) {
  for (const auto& model : model_list()) {
    EXPECT_EQ(module_to_fqn(*model, *model), "");
    EXPECT_EQ(module_to_fqn(*model, *model, "pre."), "");
  }
}

TEST(ModuleUtils, ModuleToFqnPutsThePrefixInFrontAsItIs) {
  const auto model = nested({torch::nn::Linear(2, 2).ptr()});
  const auto& linear = *fqn_to_module(*model, "seq.0");
  EXPECT_EQ(module_to_fqn(*model, linear, "."), ".seq.0");
  EXPECT_EQ(module_to_fqn(*model, linear, "pre."), "pre.seq.0");
}

TEST(ModuleUtils, ModuleToFqnFindsTheFirstPathOfASharedModule) {
  const torch::nn::Linear shared(2, 2);
  Module model("Model");
  auto deep = model.register_module("deep", nested({torch::nn::ReLU().ptr(), shared.ptr()}));
  model.register_module("b", shared.ptr());
  EXPECT_EQ(module_to_fqn(model, *shared), "deep.seq.1");
  EXPECT_EQ(module_to_fqn(*deep, *shared), "seq.1");
}

TEST(ModuleUtils, TestFqnToModule) {
  for (const auto& model : model_list()) {
    EXPECT_EQ(fqn_to_module(*model, ""), model.get());
    for (const auto& item : model->named_modules("", /*include_self=*/false)) {
      EXPECT_EQ(fqn_to_module(*model, item.key()), item.value().get());
    }
  }
}

TEST(ModuleUtils, TestFqnToModuleFail) {
  for (const auto& model : model_list()) {
    for (const char* path : {"foo.bar.baz", ".", ".seq", "seq.", "seq..0", "seq.0.weight"}) {
      EXPECT_EQ(fqn_to_module(*model, path), nullptr) << path;
    }
  }
}

TEST(ModuleUtils, TestFqnToModuleForTensors) {
  for (const auto& model : model_list()) {
    for (const auto& parameter : model->named_parameters()) {
      EXPECT_TRUE(fqn_to_tensor(*model, parameter.key()).is_same(parameter.value()));
    }
    for (const auto& buffer : model->named_buffers()) {
      EXPECT_TRUE(fqn_to_tensor(*model, buffer.key()).is_same(buffer.value()));
    }
    for (const char* path : {"", "foo.bar.baz", "seq", "seq.0", "wieght", ".weight", "weight."}) {
      EXPECT_FALSE(fqn_to_tensor(*model, path).defined()) << path;
    }
  }
}

TEST(ModuleUtils, FqnToTensorReadsWhatIsParametrized) {
  const auto model = nested({winnow::nn::Linear(4, 4).ptr()});
  auto& linear = dynamic_cast<nn::LinearImpl&>(*fqn_to_module(*model, "seq.0"));
  const at::Tensor mask = torch::eye(4);
  register_parametrization(linear, "weight", std::make_shared<FakeSparsity>(mask));
  EXPECT_TRUE(fqn_to_tensor(*model, "seq.0.weight").equal(linear.weight * mask));
  EXPECT_TRUE(
      fqn_to_tensor(*model, "seq.0.parametrizations.weight.original").is_same(linear.weight));
  EXPECT_TRUE(fqn_to_tensor(*model, "seq.0.bias").is_same(linear.bias));
  EXPECT_EQ(module_to_fqn(*model, *linear.parametrizations("weight")),
            "seq.0.parametrizations.weight");
}

TEST(ModuleUtils, TestGetArgInfoFromTensorFqn) {
  for (const auto& model : model_list()) {
    for (const auto& parameter : model->named_parameters()) {
      const auto info = get_arg_info_from_tensor_fqn(*model, parameter.key());
      EXPECT_EQ(info.tensor_fqn, parameter.key());
      EXPECT_EQ(info.module, fqn_to_module(*model, info.module_fqn));
      ASSERT_NE(info.module, nullptr);
      EXPECT_TRUE(
          info.module->named_parameters(false)[info.tensor_name].is_same(parameter.value()));
      EXPECT_EQ(module_to_fqn(*model, *info.module), info.module_fqn);
    }
  }
}

TEST(ModuleUtils, TestGetArgInfoFromTensorFqnFail) {
  for (const auto& model : model_list()) {
    const auto info = get_arg_info_from_tensor_fqn(*model, "foo.bar.baz");
    EXPECT_EQ(info.tensor_fqn, "foo.bar.baz");
    EXPECT_EQ(info.module_fqn, "foo.bar");
    EXPECT_EQ(info.module, nullptr);
    EXPECT_EQ(info.tensor_name, "baz");
  }
}

TEST(ModuleUtils, GetArgInfoProducesTorchAoValues) {
  const auto& golden = testing::golden();
  torch::nn::Sequential model, inner(torch::nn::Linear(2, 2));
  model->push_back(torch::nn::Linear(2, 2));
  model->register_module("1", inner.ptr());  // LibTorch's Sequential runs through no Sequential
  ASSERT_FALSE(golden["fqn_cases"].empty());
  for (const auto& item : golden["fqn_cases"]) {
    const std::string fqn = item["tensor_fqn"];
    const auto info = get_arg_info_from_tensor_fqn(*model, fqn);
    EXPECT_EQ(info.module_fqn, item["module_fqn"]) << fqn;
    EXPECT_EQ(info.tensor_name, item["tensor_name"]) << fqn;
    EXPECT_EQ(info.tensor_fqn, fqn);
    EXPECT_EQ(info.module != nullptr, item["module_found"]) << fqn;
  }
}

class Keep : public Parametrization {
 public:
  at::Tensor forward(const at::Tensor& original) override { return original; }
};

TEST(ModuleUtils, ModuleContainsParamLooksAtTheModuleItselfOnly) {
  nn::Linear linear(4, 4);
  torch::nn::Sequential model(linear);
  EXPECT_FALSE(module_contains_param<Parametrization>(*linear));
  register_parametrization(*linear, "bias", std::make_shared<Keep>());
  EXPECT_TRUE(module_contains_param<Keep>(*linear));
  EXPECT_FALSE(module_contains_param<FakeSparsity>(*linear));
  register_parametrization(*linear, "bias", std::make_shared<FakeSparsity>(torch::ones({4})));
  EXPECT_TRUE(module_contains_param<FakeSparsity>(*linear));
  EXPECT_TRUE(module_contains_param<Parametrization>(*linear));  // a base of both
  EXPECT_FALSE(module_contains_param<Parametrization>(*model));
  EXPECT_FALSE(module_contains_param<Parametrization>(*torch::nn::Linear(4, 4)));
  remove_parametrizations(*linear, "bias");
  EXPECT_FALSE(module_contains_param<FakeSparsity>(*linear));
}

TEST(ModuleUtils, SwapModuleReplacesExactTypesOnTheSameTensors) {
  torch::nn::Linear linear(4, 3);
  linear->eval();
  const auto mapping = default_swap_mapping();
  const auto swapped =
      std::dynamic_pointer_cast<nn::LinearImpl>(swap_module(linear.ptr(), mapping));
  ASSERT_NE(swapped, nullptr);
  EXPECT_TRUE(swapped->weight.is_same(linear->weight));
  EXPECT_FALSE(swapped->is_training());
  EXPECT_NE(dynamic_cast<nn::EmbeddingImpl*>(
                swap_module(torch::nn::Embedding(4, 3).ptr(), mapping).get()),
            nullptr);
  EXPECT_NE(dynamic_cast<nn::EmbeddingBagImpl*>(
                swap_module(torch::nn::EmbeddingBag(4, 3).ptr(), mapping).get()),
            nullptr);

  struct SubclassImpl : torch::nn::LinearImpl {
    using LinearImpl::LinearImpl;
  };
  for (const std::shared_ptr<Module>& other : std::vector<std::shared_ptr<Module>>{
           std::make_shared<SubclassImpl>(4, 3), torch::nn::ReLU().ptr(), swapped}) {
    EXPECT_EQ(swap_module(other, mapping), other);
  }
}

/// Remembers where it was moved: LibTorch moves nothing to the meta device, the only other at hand.
struct MovableImpl : Module {
  using Module::to;
  void to(torch::Device device, bool) override { moved_to = device; }
  at::Tensor forward(const at::Tensor& input) { return input; }
  std::optional<torch::Device> moved_to;
};

SwapMapping mapping_to_movable(const std::type_info& from) {
  return {
      {from, [](const Module&) { return torch::nn::AnyModule(std::make_shared<MovableImpl>()); }}};
}

TEST(ModuleUtils, SwapModuleMovesTheReplacementToTheModulesDeviceAndMode) {
  torch::nn::Embedding embedding(
      torch::nn::EmbeddingOptions(4, 3)._weight(torch::empty({4, 3}, torch::kMeta)));
  embedding->eval();
  const auto mapping = mapping_to_movable(typeid(torch::nn::EmbeddingImpl));
  const auto swapped =
      std::dynamic_pointer_cast<MovableImpl>(swap_module(embedding.ptr(), mapping));
  EXPECT_EQ(swapped->moved_to, torch::Device(torch::kMeta));
  EXPECT_FALSE(swapped->is_training());

  embedding->register_buffer("extra", torch::ones({1}));
  try {
    swap_module(embedding.ptr(), mapping);
    FAIL() << "a module on two devices was swapped";
  } catch (const AssertionError& error) {
    EXPECT_THAT(error.what_without_backtrace(), HasSubstr("single-device"));
  }
  const auto of_nothing =
      swap_module(torch::nn::ReLU().ptr(), mapping_to_movable(typeid(torch::nn::ReLUImpl)));
  EXPECT_EQ(std::dynamic_pointer_cast<MovableImpl>(of_nothing)->moved_to, std::nullopt);
}

at::Tensor bags() { return torch::tensor({0, 1, 2, 3, 9, 9}).view({2, 3}); }

TEST(ModuleUtils, SwapChildIsSeenByTheForwardOfASequential) {
  torch::nn::Sequential model{{"bag", torch::nn::EmbeddingBag(10, 4)},
                              {"relu", torch::nn::ReLU()},
                              {"linear", torch::nn::Linear(4, 3)}};
  const at::Tensor before = model->forward(bags());
  const at::Tensor weight = model->named_parameters()["bag.weight"];
  const auto swapped = swap_child(*model, "bag", default_swap_mapping());
  EXPECT_EQ(model->ptr(0), swapped);
  EXPECT_EQ(model->named_children()["bag"], swapped);
  EXPECT_THAT(model->named_children().keys(), ElementsAre("bag", "relu", "linear"));
  EXPECT_TRUE(model->named_parameters()["bag.weight"].is_same(weight));
  EXPECT_TRUE(model->forward(bags()).equal(before));

  register_parametrization(*swapped, "weight",
                           std::make_shared<FakeSparsity>(torch::zeros({10, 4})));
  swap_child(*model, "linear", default_swap_mapping());
  const at::Tensor bias = model->named_parameters()["linear.bias"];
  EXPECT_TRUE(model->forward(bags()).equal(bias.expand({2, 3})));
  const auto relu = model->ptr(1);
  EXPECT_EQ(swap_child(*model, "relu", default_swap_mapping()), relu);
}

TEST(ModuleUtils, SwapChildOfASharedModuleReplacesTheOneThatIsNamed) {
  const torch::nn::Linear shared(4, 4);
  torch::nn::Sequential model(shared, shared);
  const auto swapped = swap_child(*model, "1", default_swap_mapping());
  EXPECT_EQ(model->ptr(0), shared.ptr());
  EXPECT_EQ(model->ptr(1), swapped);
  EXPECT_NE(swapped, shared.ptr());
}

TEST(ModuleUtils, SwapChildReplacesInListsAndDictionaries) {
  torch::nn::ModuleList list(torch::nn::ReLU(), torch::nn::Linear(4, 3));
  const auto in_list = swap_child(*list, "1", default_swap_mapping());
  EXPECT_EQ(list->ptr(1), in_list);
  EXPECT_EQ(list->named_children()["1"], in_list);
  EXPECT_NE(in_list->as<nn::Linear>(), nullptr);

  torch::nn::ModuleDict dict;
  dict->update({{"a", torch::nn::ReLU().ptr()}, {"b", torch::nn::Embedding(4, 3).ptr()}});
  const auto in_dict = swap_child(*dict, "b", default_swap_mapping());
  EXPECT_EQ((*dict)["b"], in_dict);
  EXPECT_EQ(dict->named_children()["b"], in_dict);
  EXPECT_THAT(dict->keys(), ElementsAre("a", "b"));
  EXPECT_NE(in_dict->as<nn::Embedding>(), nullptr);
}

TEST(ModuleUtils, SwapChildOfATypedMemberNamesTheTypeToDeclare) {
  TwoLayers model;
  const auto children = model->children();
  for (const auto& [name, type] :
       {std::pair("bag", "winnow::nn::EmbeddingBag"), std::pair("linear", "winnow::nn::Linear")}) {
    try {
      swap_child(*model, name, default_swap_mapping());
      FAIL() << name << " was swapped, which forward would not see";
    } catch (const c10::ValueError& error) {
      EXPECT_THAT(error.what_without_backtrace(), ::testing::EndsWith(std::string("as ") + type));
    }
  }
  EXPECT_EQ(model->children(), children);
  EXPECT_THROW(swap_child(*model, "none", default_swap_mapping()), KeyError);
  EXPECT_EQ(swap_child(*model, "bag", {}), model->bag.ptr());
}

TEST(ModuleUtils, SwapChildRefusesAContainerThatDisagreesWithItsChildren) {
  torch::nn::ModuleDict dict;
  dict->update({{"a", torch::nn::Linear(4, 3).ptr()}});
  const auto popped = dict->pop("a");  // LibTorch leaves it among the children
  EXPECT_THROW(swap_child(*dict, "a", default_swap_mapping()), c10::ValueError);
  EXPECT_EQ(dict->named_children()["a"], popped);
  EXPECT_TRUE(dict->empty());

  torch::nn::Sequential model(torch::nn::Linear(4, 3));
  const auto runs = model->ptr(0);
  const auto child = model->replace_module("0", torch::nn::Linear(4, 3));
  EXPECT_THROW(swap_child(*model, "0", default_swap_mapping()), c10::ValueError);
  EXPECT_EQ(model->ptr(0), runs);
  EXPECT_EQ(model->named_children()["0"], child);
  model->register_module("unlisted", torch::nn::Linear(4, 3));
  EXPECT_THROW(swap_child(*model, "unlisted", default_swap_mapping()), c10::ValueError);
}

TEST(SwapChild, NamesTheModuleOfAnEmptyFunction) {
  torch::nn::Sequential model{torch::nn::ReLU()};
  const SwapMapping mapping{{typeid(torch::nn::ReLUImpl), nullptr}};
  try {
    swap_child(*model, "0", mapping);
    FAIL();
  } catch (const c10::ValueError& error) {
    EXPECT_THAT(error.what_without_backtrace(),
                HasSubstr("an empty function for a torch::nn::ReLU"));
  }
}

}  // namespace
}  // namespace winnow
