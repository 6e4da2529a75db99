#include "winnow/torch/training/sparsity_callbacks.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "torch/training/models.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/error.h"
#include "winnow/torch/schedules.h"

namespace winnow {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::golden;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Linears;
using testing::message_of;
using testing::values_of;
using testing::zeros_in;

MakeSparsifier norm_sparsifier(double level) {
  return [level] {
    return std::make_unique<DataNormSparsifier>(DataNormSparsifierOptions{.sparsity_level = level});
  };
}

MakeScheduler doubling() {
  return [](BaseDataSparsifier& sparsifier) {
    return std::make_unique<StepDataScheduler>(sparsifier, StepDataSchedulerOptions{.gamma = 2});
  };
}

void expect_values(const torch::nn::Module& model, const json& expected) {
  for (const auto& [fqn, values] : expected.items()) {
    EXPECT_THAT(values_of(model.named_parameters()[fqn]),
                ElementsAreArray(values.get<std::vector<double>>()))
        << fqn;
  }
}

void add_one(torch::nn::Module& model) {
  const torch::NoGradGuard no_grad;
  for (at::Tensor parameter : model.parameters()) parameter.add_(1);
}

TEST(PostTrainingDataSparsity, SparsifiesACopyAsTorchAoDoes) {
  const json& c = golden()["post_training_case"];
  Linears model;
  testing::count_up(*model);
  std::vector<std::string> lines;
  PostTrainingDataSparsity callback({.make_sparsifier = norm_sparsifier(0.5),
                                     .log = [&](const auto& line) { lines.push_back(line); }});
  EXPECT_EQ(callback.sparsified(), nullptr);
  EXPECT_EQ(callback.data_sparsifier(), nullptr);
  callback.on_fit_end(*model);
  EXPECT_THAT(callback.data_sparsifier()->names(),
              ElementsAreArray(c["names"].get<std::vector<std::string>>()));
  expect_values(*callback.sparsified(), c["sparsified"]);
  EXPECT_EQ(callback.sparsified()->is_training(), c["sparsified_training"].get<bool>());
  EXPECT_TRUE(model->is_training());
  Linears untouched;
  testing::count_up(*untouched);
  for (const auto& item : untouched->named_parameters()) {
    EXPECT_TRUE(model->named_parameters()[item.key()].equal(item.value()));
  }
  EXPECT_THAT(lines, ElementsAre("Sparsity in layer linears.0.weight = 50.00%",
                                 "Sparsity in layer linears.2.weight = 50.00%"));
}

TEST(PostTrainingDataSparsity, WorksOnModelsWithBiases) {
  Linears model(/*bias=*/true);
  PostTrainingDataSparsity callback({.make_sparsifier = norm_sparsifier(0.5)});
  callback.on_fit_end(*model);
  const auto parameters = callback.sparsified()->named_parameters();
  EXPECT_EQ(zeros_in(parameters["linears.0.weight"]), 16);
  // One row of 4: a single block, and half of it rounds to none.
  EXPECT_EQ(zeros_in(parameters["linears.0.bias"]), 0);
}

TEST(PostTrainingDataSparsity, LeavesEverythingWhereTheCopyCannotBeMade) {
  torch::nn::Linear shared(8, 8);
  torch::nn::Sequential model(shared, shared);
  PostTrainingDataSparsity callback({.make_sparsifier = norm_sparsifier(0.5)});
  EXPECT_THAT(message_of<c10::ValueError>([&] { callback.on_fit_end(*model); }), HasSubstr("tied"));
  EXPECT_EQ(callback.sparsified(), nullptr);

  PostTrainingDataSparsity tying(
      {.make_sparsifier = norm_sparsifier(0.5), .copy_model = [](const torch::nn::Module& module) {
         torch::nn::Linear copy(8, 8);
         const torch::NoGradGuard no_grad;
         copy->weight.copy_(module.named_parameters()["0.weight"]);
         return torch::nn::Sequential(copy, copy).ptr();
       }});
  tying.on_fit_end(*model);
  EXPECT_EQ(zeros_in(tying.sparsified()->named_parameters()["1.weight"]), 32);
  EXPECT_THAT(tying.data_sparsifier()->names(), ElementsAre("0_weight", "0_bias"));
}

TEST(PostTrainingDataSparsity, NeedsASparsifier) {
  EXPECT_THAT(message_of<c10::ValueError>([] { PostTrainingDataSparsity({}); }),
              HasSubstr("make_sparsifier is missing"));
}

// Upstream's TestPostTrainingCallback.
TEST(TestPostTrainingCallback, KeepsTheValuesThatItDoesNotDrop) {
  Linears model;
  PostTrainingDataSparsity callback({.make_sparsifier = norm_sparsifier(0.7)});
  callback.on_fit_end(*model);
  EXPECT_EQ(callback.data_sparsifier()->defaults().get<double>("sparsity_level"), 0.7);
  for (const auto& item : model->named_parameters()) {
    const at::Tensor sparse = callback.sparsified()->named_parameters()[item.key()];
    EXPECT_GT(zeros_in(sparse), 0) << item.key();
    EXPECT_TRUE(sparse.equal(torch::where(sparse.eq(0), 0, item.value()))) << item.key();
  }
}

void expect_event(const TrainingAwareDataSparsity& callback, const json& event) {
  EXPECT_EQ(callback.data_scheduler()->last_epoch(), event["last_epoch"].get<int64_t>());
  for (const auto& [name, level] : event["levels"].items()) {
    const NamedValues& group = callback.data_sparsifier()->data_group(name);
    EXPECT_EQ(group.get<double>("sparsity_level"), level.get<double>()) << name;
  }
  if (!event.contains("zeros")) return;
  for (const auto& [name, zeros] : event["zeros"].items()) {
    EXPECT_EQ(zeros_in(callback.data_sparsifier()->get_mask(name)), zeros.get<int64_t>()) << name;
  }
}

TEST(TrainingAwareDataSparsity, FollowsTorchAoFromHookToHook) {
  const json& events = golden()["training_aware_case"]["events"];
  Linears model;
  testing::count_up(*model);
  TrainingAwareDataSparsity callback(
      {.make_sparsifier = norm_sparsifier(0.125), .make_scheduler = doubling()});
  const testing::CapturedWarnings warnings;
  callback.on_train_start(*model);
  expect_event(callback, events[0]);
  for (size_t epoch = 0; epoch + 2 < events.size(); ++epoch) {
    callback.on_train_epoch_start(*model);
    add_one(*model);
    callback.on_train_epoch_end(*model);
    expect_event(callback, events[epoch + 1]);
  }
  callback.on_train_end(*model);
  expect_values(*callback.sparsified(), events.back()["sparsified"]);
  expect_values(*model, events.back()["original"]);
  EXPECT_THAT(warnings.messages(), IsEmpty());
}

// The state that on_train_epoch_start loads is tied to no model.
TEST(TrainingAwareDataSparsity, EndsSparseRightAfterAnEpochStart) {
  Linears model;
  TrainingAwareDataSparsity callback(
      {.make_sparsifier = norm_sparsifier(0.5), .make_scheduler = doubling()});
  callback.on_train_start(*model);
  callback.on_train_epoch_end(*model);
  callback.on_train_epoch_start(*model);
  callback.on_train_end(*model);
  EXPECT_EQ(zeros_in(callback.sparsified()->named_parameters()["linears.0.weight"]), 16);
  EXPECT_FALSE(callback.data_sparsifier()->is_parametrized("linears_0_weight"));
}

// Upstream's TestTrainingAwareCallback, with its check of on_train_end, which upstream never calls.
TEST(TestTrainingAwareCallback, FollowsTheScheduleOverFiveEpochs) {
  constexpr double kBase = 0.01;
  Linears model;
  TrainingAwareDataSparsity callback(
      {.make_sparsifier = norm_sparsifier(kBase), .make_scheduler = doubling()});
  callback.on_train_start(*model);
  EXPECT_EQ(callback.data_sparsifier()->defaults().get<double>("sparsity_level"), kBase);
  EXPECT_FALSE(callback.data_sparsifier_state_dict().has_value());
  for (int epoch = 0; epoch < 5; ++epoch) {
    callback.on_train_epoch_start(*model);
    if (epoch > 0) {
      const DataSparsifierState saved = *callback.data_sparsifier_state_dict();
      const DataSparsifierState now = callback.data_sparsifier()->state_dict();
      for (const auto& item : saved.container) {
        EXPECT_TRUE(now.container[item.key()].equal(item.value()));
        EXPECT_EQ(now.data_groups.keys(), saved.data_groups.keys());
      }
    }
    callback.on_train_epoch_end(*model);
    const auto& scheduler = *callback.data_scheduler();
    EXPECT_EQ(scheduler.last_epoch(), epoch + 1);
    for (const auto& item : scheduler.get_last_param()) {
      EXPECT_DOUBLE_EQ(item.value().toDouble(), kBase * std::exp2(scheduler.last_epoch()));
    }
  }
  callback.on_train_end(*model);
  for (const std::string& name : callback.data_sparsifier()->names()) {
    EXPECT_FALSE(callback.data_sparsifier()->is_parametrized(name));
  }
}

TEST(TrainingAwareDataSparsity, SaysWhatComesFirst) {
  Linears model;
  TrainingAwareDataSparsity callback(
      {.make_sparsifier = norm_sparsifier(0.5), .make_scheduler = doubling()});
  EXPECT_THAT(message_of<c10::Error>([&] { callback.on_train_epoch_end(*model); }),
              HasSubstr("on_train_epoch_end was called before on_train_start"));
  EXPECT_THROW(callback.on_train_end(*model), c10::Error);
  EXPECT_THROW(callback.on_train_epoch_start(*model), c10::Error);
  EXPECT_THROW(callback.on_train_batch_end(*model, 0), c10::Error);
}

TEST(TrainingAwareDataSparsity, RefusesOptionsThatMakeNoSense) {
  const auto refused = [](TrainingAwareOptions options) {
    return message_of<c10::ValueError>([&] { TrainingAwareDataSparsity{options}; });
  };
  const TrainingAwareOptions good{.make_sparsifier = norm_sparsifier(0.5),
                                  .make_scheduler = doubling()};
  TrainingAwareOptions bad = good;
  bad.make_scheduler = nullptr;
  EXPECT_THAT(refused(bad), HasSubstr("make_scheduler is missing"));
  bad = good;
  bad.apply_to_model = true;
  bad.frequency = 0;
  EXPECT_THAT(refused(bad), HasSubstr("frequency: expected at least 1 batch, found 0"));
  bad = good;
  bad.interval = StepInterval::kStep;
  EXPECT_THAT(refused(bad), HasSubstr("kStep needs apply_to_model"));
}

TEST(TrainingAwareDataSparsity, TakesTheConfigurationAtTheStartOnly) {
  Linears model;
  TrainingAwareDataSparsity callback(
      {.make_sparsifier = norm_sparsifier(0.5),
       .make_scheduler = doubling(),
       .attach = {.config = {{"linears_0_weight", NamedValues{{"sparsity_level", 0.125}}}}}});
  callback.on_train_start(*model);
  callback.on_train_epoch_end(*model);
  callback.on_train_epoch_end(*model);
  EXPECT_EQ(zeros_in(callback.data_sparsifier()->get_mask("linears_0_weight")), 8);
}

}  // namespace
}  // namespace winnow
