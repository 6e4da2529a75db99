// What checkpoints hold of optimizers: every class and option, tied weights, what does not fit,
// memory.
#include "torch/training/optimizer_state.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "io/temp_dir.h"
#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/named_values.h"
#include "winnow/torch/torch_file.h"
#include "winnow/torch/training/attach.h"
#include "winnow/torch/training/trainer.h"

namespace winnow {
using namespace internal;

namespace {

namespace optim = torch::optim;
using testing::CapturedWarnings;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TempDir;

using MakeOptimizer =
    std::function<std::unique_ptr<optim::Optimizer>(std::vector<at::Tensor> parameters)>;

template <typename Optimizer, typename Options>
MakeOptimizer optimizer_maker(Options options) {
  return [options](std::vector<at::Tensor> parameters) {
    return std::make_unique<Optimizer>(std::move(parameters), options);
  };
}

/// Every class that has a form of its own in checkpoints, with every option other than its default.
std::vector<MakeOptimizer> all_makers() {
  return {
      optimizer_maker<optim::SGD>(
          optim::SGDOptions(0.01).momentum(0.8).weight_decay(0.02).nesterov(true)),
      optimizer_maker<optim::SGD>(optim::SGDOptions(0.01).momentum(0.7).dampening(0.1)),
      optimizer_maker<optim::SGD>(optim::SGDOptions(0.02)),  // without a state
      optimizer_maker<optim::Adam>(
          optim::AdamOptions(0.01).betas({0.8, 0.9}).eps(1e-6).weight_decay(0.1)),
      optimizer_maker<optim::Adam>(optim::AdamOptions(0.01).amsgrad(true)),
      optimizer_maker<optim::AdamW>(
          optim::AdamWOptions(0.01).betas({0.8, 0.9}).eps(1e-6).amsgrad(true)),
      optimizer_maker<optim::RMSprop>(
          optim::RMSpropOptions(0.01).alpha(0.9).eps(1e-6).momentum(0.5).centered(true)),
      optimizer_maker<optim::Adagrad>(optim::AdagradOptions(0.01).lr_decay(0.1).weight_decay(0.01)),
  };
}

/// Two Linears, or one in two places: a tied weight.
torch::nn::Sequential model_of(bool tied) {
  torch::manual_seed(7);
  torch::nn::Linear first(4, 4);
  return tied ? torch::nn::Sequential(first, torch::nn::Tanh(), first)
              : torch::nn::Sequential(first, torch::nn::Tanh(), torch::nn::Linear(4, 4));
}

struct OptimizerRun {
  OptimizerRun(const MakeOptimizer& make, bool tied)
      : model(model_of(tied)), optimizer(make(model->parameters())) {}

  /// Three epochs of two batches, stopped before the batch that is global step `stop_at`.
  void fit(const std::string& ckpt_path = "", int64_t stop_at = -1) {
    CapturedWarnings warnings;  // of the tied weight
    trainer.fit(
        *model, *optimizer, 2,
        [&](int64_t epoch, int64_t batch_idx) {
          if (trainer.global_step() + 1 == stop_at) trainer.stop();
          return model->forward(torch::full({4}, 0.1 * static_cast<double>(2 * epoch + batch_idx)))
              .square()
              .sum();
        },
        ckpt_path);
  }

  torch::nn::Sequential model;
  std::unique_ptr<optim::Optimizer> optimizer;
  Trainer trainer{{.max_epochs = 3}};
};

TEST(OptimizerState, ResumesEveryClassBitForBitTiedOrNot) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  for (const MakeOptimizer& make : all_makers()) {
    for (const bool tied : {false, true}) {
      OptimizerRun whole(make, tied), stopped(make, tied);
      whole.fit();
      stopped.fit("", 3);
      stopped.trainer.save_checkpoint(path);
      // The options come from the file.
      OptimizerRun resumed(
          [&](auto parameters) {
            auto made = make(std::move(parameters));
            for (auto& group : made->param_groups()) group.options().set_lr(0.5);
            return made;
          },
          tied);
      resumed.fit(path);
      EXPECT_EQ(resumed.trainer.global_step(), 6);
      for (size_t i = 0; i < whole.model->parameters().size(); ++i) {
        EXPECT_TRUE(resumed.model->parameters()[i].equal(whole.model->parameters()[i]))
            << c10::demangle(typeid(*whole.optimizer).name()) << (tied ? " tied" : "");
      }
    }
  }
}

MakeOptimizer lbfgs() { return optimizer_maker<optim::LBFGS>(optim::LBFGSOptions(0.1)); }

TEST(OptimizerState, RefusesToSaveATiedWeightWhereLibTorchCouldNotLoadIt) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  OptimizerRun run(lbfgs(), /*tied=*/true);
  run.trainer = Trainer({.max_epochs = 0});
  run.fit();
  EXPECT_THAT(message_of<c10::ValueError>([&] { run.trainer.save_checkpoint(path); }),
              HasSubstr("distinct_parameters(model)"));
  EXPECT_FALSE(std::ifstream(path).good());
}

/// An optimizer of a user's own, of which a checkpoint knows LibTorch's archive alone.
class OwnAdam : public optim::Adam {
 public:
  using Adam::Adam;
};

TEST(OptimizerState, HoldsOtherClassesAsLibTorchsArchive) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  const MakeOptimizer make = optimizer_maker<OwnAdam>(optim::AdamOptions(0.01).amsgrad(true));
  OptimizerRun whole(make, /*tied=*/false), stopped(make, /*tied=*/false),
      resumed(make, /*tied=*/false);
  whole.fit();
  stopped.fit("", 3);
  stopped.trainer.save_checkpoint(path);
  NamedValues file = to_named_values(load_torch_file(path));
  NamedValues optimizer = to_named_values(file.at("optimizer"));
  ASSERT_TRUE(optimizer.contains("archive"));
  resumed.fit(path);
  for (size_t i = 0; i < whole.model->parameters().size(); ++i) {
    EXPECT_TRUE(resumed.model->parameters()[i].equal(whole.model->parameters()[i]));
  }

  const auto bytes = optimizer.get<at::Tensor>("archive");
  optimizer.set("archive", bytes.slice(0, 0, bytes.numel() / 2));
  file.set("optimizer", to_value(optimizer));
  save_torch_file(path, to_value(file));
  const at::Tensor before = resumed.model->parameters()[0].detach().clone();
  const size_t states = resumed.optimizer->state().size();
  EXPECT_THAT(message_of<c10::Error>([&] { resumed.fit(path); }),
              HasSubstr("LibTorch cannot load the optimizer"));
  EXPECT_EQ(resumed.optimizer->state().size(), states);
  EXPECT_EQ(resumed.optimizer->param_groups()[0].options().get_lr(), 0.01);
  EXPECT_TRUE(resumed.model->parameters()[0].equal(before));
}

TEST(OptimizerState, WarnsOfATensorThatIsMovedTwice) {
  const auto warnings_of = [](const std::vector<at::Tensor>& parameters, torch::nn::Module& model) {
    optim::SGD optimizer(parameters, 0.1);
    CapturedWarnings warnings;
    Trainer trainer({.max_epochs = 0});
    trainer.fit(model, optimizer, 1, [](int64_t, int64_t) { return at::Tensor(); });
    return warnings.messages();
  };
  torch::nn::Sequential model = model_of(/*tied=*/true);
  const auto messages = warnings_of(model->parameters(), *model);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0], HasSubstr("each step moves it twice"));
  std::vector<at::Tensor> distinct;
  for (const auto& [name, parameter] : distinct_parameters(*model)) distinct.push_back(parameter);
  EXPECT_EQ(distinct.size(), 2u);
  EXPECT_TRUE(warnings_of(distinct, *model).empty());
}

TEST(OptimizerState, IsRefusedByPartsThatDoNotFit) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  const MakeOptimizer make = all_makers()[3];
  OptimizerRun run(make, /*tied=*/false);
  run.fit("", 3);
  run.trainer.save_checkpoint(path);
  const NamedValues whole = to_named_values(load_torch_file(path));
  const auto refused = [&](const std::function<void(NamedValues&)>& change) {
    NamedValues file = whole.deep_copy(), optimizer = to_named_values(file.at("optimizer"));
    change(optimizer);
    file.set("optimizer", to_value(optimizer));
    save_torch_file(path, to_value(file), {.overwrite = true});
    OptimizerRun resumed(make, /*tied=*/false);
    const at::Tensor before = resumed.model->parameters()[0].detach().clone();
    const std::string message = message_of<c10::Error>([&] { resumed.fit(path); });
    EXPECT_TRUE(resumed.model->parameters()[0].equal(before));
    EXPECT_TRUE(resumed.optimizer->state().empty());
    return message;
  };
  const auto change_state = [](NamedValues& optimizer, const char* key, const c10::IValue& value) {
    NamedValues state = to_named_values(optimizer.at("state").toListRef()[0]);
    state.set(key, value);
    c10::impl::GenericList list(c10::AnyType::get());
    for (const auto& item : optimizer.at("state").toListRef()) list.push_back(item);
    list.set(0, to_value(state));
    optimizer.set("state", list);
  };
  EXPECT_THAT(refused([](NamedValues& values) { values.erase("options"); }),
              HasSubstr("'options' is missing"));
  EXPECT_THAT(refused([](NamedValues& values) { values.set("state", 3); }),
              HasSubstr("'state' is no list of 4 items"));
  EXPECT_THAT(
      refused([&](NamedValues& values) { change_state(values, "exp_avg", torch::ones({3})); }),
      HasSubstr("exp_avg of parameter 0 is a CPUFloatType of shape [3]"));
  EXPECT_THAT(refused([&](NamedValues& values) { change_state(values, "exp_avg", c10::IValue()); }),
              HasSubstr("its 'exp_avg' is missing"));
  EXPECT_THAT(refused([&](NamedValues& values) { change_state(values, "step", -1); }),
              HasSubstr("its 'step' is missing or makes no sense"));
  EXPECT_THAT(refused([&](NamedValues& values) {
                change_state(values, "exp_avg", torch::ones({4, 4}).to_sparse());
              }),
              HasSubstr("exp_avg of parameter 0"));
  EXPECT_THAT(refused([&](NamedValues& values) { change_state(values, "step", "many"); }),
              HasSubstr("state of parameter 0: step: expected an integer"));
}

// A file of a kilobyte can share lists so that their text is without end.
TEST(OptimizerState, IsRefusedByShapesWithoutEnd) {
  const torch::nn::Sequential model = model_of(/*tied=*/false);
  optim::SGD optimizer(model->parameters(), 0.1);
  c10::IValue list = c10::impl::GenericList(c10::AnyType::get());
  for (int depth = 0; depth < 60; ++depth) {
    c10::impl::GenericList next(c10::AnyType::get());
    next.push_back(list);
    next.push_back(list);
    list = next;
  }
  NamedValues values = optimizer_values(optimizer);
  values.set("parameters", list);
  EXPECT_THAT(message_of<c10::Error>([&] { optimizer_restorer(optimizer, values); }),
              HasSubstr("had parameters of shapes"));
}

// Two states in one storage would be written over each other.
TEST(OptimizerState, GivesStatesOfAFileMemoryOfTheirOwn) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  const MakeOptimizer make = all_makers()[3];
  OptimizerRun run(make, /*tied=*/false), resumed(make, /*tied=*/false);
  run.fit("", 3);
  run.trainer.save_checkpoint(path);
  NamedValues file = to_named_values(load_torch_file(path));
  NamedValues optimizer = to_named_values(file.at("optimizer"));
  c10::impl::GenericList states(c10::AnyType::get());
  for (const c10::IValue& value : optimizer.at("state").toListRef()) {
    NamedValues state = to_named_values(value);
    state.set("exp_avg_sq", state.get<at::Tensor>("exp_avg"));
    states.push_back(to_value(state));
  }
  optimizer.set("state", states);
  file.set("optimizer", to_value(optimizer));
  save_torch_file(path, to_value(file));
  resumed.trainer = Trainer({.max_epochs = 0});
  resumed.fit(path);
  ASSERT_EQ(resumed.optimizer->state().size(), 4u);
  for (const auto& [parameter, state] : resumed.optimizer->state()) {
    const auto& adam = dynamic_cast<const optim::AdamParamState&>(*state);
    EXPECT_FALSE(adam.exp_avg().is_alias_of(adam.exp_avg_sq()));
  }
}

TEST(OptimizerState, GoesToWhereTheParametersAre) {
  const MakeOptimizer make = all_makers()[3];
  OptimizerRun run(make, /*tied=*/false);
  run.fit("", 3);
  std::vector<at::Tensor> elsewhere;  // on the only other device that every machine has
  for (const at::Tensor& parameter : run.model->parameters()) {
    elsewhere.push_back(torch::empty(parameter.sizes(), torch::kMeta).set_requires_grad(true));
  }
  const auto optimizer = make(elsewhere);
  optimizer_restorer(*optimizer, optimizer_values(*run.optimizer))();
  ASSERT_EQ(optimizer->state().size(), 4u);
  for (const auto& [parameter, state] : optimizer->state()) {
    EXPECT_TRUE(dynamic_cast<const optim::AdamParamState&>(*state).exp_avg().is_meta());
  }
}

}  // namespace
}  // namespace winnow
