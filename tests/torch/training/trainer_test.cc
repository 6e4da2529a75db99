#include "winnow/torch/training/trainer.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <limits>

#include "io/temp_dir.h"
#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "torch/training/runs.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/torch_file.h"
#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow {
namespace {

using testing::batch_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kBatches;
using testing::kEpochs;
using testing::Linears;
using testing::message_of;
using testing::options_of;
using testing::TempDir;
using testing::TrainingRun;
using testing::zeros_in;

/// Writes down the hooks as they come.
class Recorder final : public Callback {
 public:
  void setup(torch::nn::Module&) override { add("setup"); }
  void on_fit_start(torch::nn::Module&) override { add("on_fit_start"); }
  void on_train_start(torch::nn::Module&) override { add("on_train_start"); }
  void on_train_epoch_start(torch::nn::Module&) override { add("on_train_epoch_start"); }
  void on_train_batch_start(torch::nn::Module&, int64_t i) override {
    add("on_train_batch_start " + std::to_string(i));
  }
  void on_before_zero_grad(torch::nn::Module&, torch::optim::Optimizer&) override {
    add("on_before_zero_grad");
  }
  void on_before_backward(torch::nn::Module&, const at::Tensor&) override {
    add("on_before_backward");
  }
  void on_after_backward(torch::nn::Module&) override { add("on_after_backward"); }
  void on_before_optimizer_step(torch::nn::Module&, torch::optim::Optimizer&) override {
    add("on_before_optimizer_step");
  }
  void on_train_batch_end(torch::nn::Module&, int64_t i) override {
    add("on_train_batch_end " + std::to_string(i));
  }
  void on_train_epoch_end(torch::nn::Module&) override { add("on_train_epoch_end"); }
  void on_train_end(torch::nn::Module&) override { add("on_train_end"); }
  void on_fit_end(torch::nn::Module&) override { add("on_fit_end"); }
  void teardown(torch::nn::Module&) override { add("teardown"); }

  std::vector<std::string> hooks;

 private:
  void add(std::string hook) { hooks.push_back(std::move(hook)); }
};

void expect_same_end(const TrainingRun& a, const TrainingRun& b) {
  for (const auto& item : a.model->named_parameters()) {
    EXPECT_TRUE(b.model->named_parameters()[item.key()].equal(item.value())) << item.key();
  }
  for (const std::string& name : a.sparsity->data_sparsifier()->names()) {
    EXPECT_TRUE(b.sparsity->data_sparsifier()->get_mask(name).equal(
        a.sparsity->data_sparsifier()->get_mask(name)))
        << name;
  }
  if (a.sparsity->sparsified() == nullptr) return;
  for (const auto& item : a.sparsity->sparsified()->named_parameters()) {
    EXPECT_TRUE(b.sparsity->sparsified()->named_parameters()[item.key()].equal(item.value()));
  }
}

TEST(Trainer, CallsHooksInLightningsOrder) {
  const auto recorder = std::make_shared<Recorder>();
  Trainer trainer({.max_epochs = 1, .callbacks = {recorder}});
  Linears model;
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  trainer.fit(*model, optimizer, 1, [&](int64_t epoch, int64_t batch_idx) {
    recorder->hooks.push_back("training_step");
    return model->forward(batch_of(epoch, batch_idx)).sum();
  });
  EXPECT_THAT(recorder->hooks,
              ElementsAre("setup", "on_fit_start", "on_train_start", "on_train_epoch_start",
                          "on_train_batch_start 0", "training_step", "on_before_zero_grad",
                          "on_before_backward", "on_after_backward", "on_before_optimizer_step",
                          "on_train_batch_end 0", "on_train_epoch_end", "on_train_end",
                          "on_fit_end", "teardown"));
}

struct ZerosAtEpochEnd final : Callback {
  void on_train_epoch_end(torch::nn::Module& model) override {
    zeros.push_back(zeros_in(model.named_parameters()["linears.0.weight"]));
  }
  std::vector<int64_t> zeros;
};

TEST(Trainer, HoldsTheTargetsZerosAtTheEndOfEveryEpoch) {
  TrainingRun run(options_of(/*apply_to_model=*/true, StepInterval::kEpoch));
  const auto check = std::make_shared<ZerosAtEpochEnd>();
  run.trainer = Trainer({.max_epochs = kEpochs, .callbacks = {run.sparsity, check}});
  run.fit();
  // Levels 0, 0.65625 and 0.75 of 16 blocks of 2 values: 0, round(10.5) = 10 and 12 of them fall.
  EXPECT_THAT(check->zeros, ElementsAre(0, 20, 24));
  const at::Tensor weight = run.model->named_parameters()["linears.0.weight"];
  EXPECT_EQ(zeros_in(weight), 24);
  EXPECT_EQ(run.sparsity->sparsified(), nullptr);
  EXPECT_FALSE(run.sparsity->data_sparsifier()->is_parametrized("linears_0_weight"));
  for (const at::Tensor& momentum : momenta_of(run.optimizer, weight)) {
    EXPECT_EQ(zeros_in(momentum), 24);
  }
}

TEST(Trainer, AdvancesMasksEveryFewBatches) {
  TrainingRun run(options_of(/*apply_to_model=*/true, StepInterval::kStep));
  std::vector<int64_t> zeros;
  run.before_step = [&](int64_t, int64_t) {
    zeros.push_back(zeros_in(run.model->named_parameters()["linears.0.weight"]));
  };
  run.fit();
  // Steps after 3, 6, 9 and 12 batches at levels 0, 0.65625, 0.75 and 0.75; 16 blocks of 2 values:
  // 0, round(10.5) = 10, 12 and 12 of them fall.
  EXPECT_THAT(zeros, ElementsAre(0, 0, 0, 0, 0, 0, 20, 20, 20, 24, 24, 24));
}

class ResumeTest : public ::testing::TestWithParam<std::tuple<bool, StepInterval>> {};

TEST_P(ResumeTest, IsBitIdenticalToARunThatWasNotStopped) {
  const auto [apply_to_model, interval] = GetParam();
  const auto options = options_of(apply_to_model, interval);
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  for (int64_t stop_after = 1; stop_after < kEpochs * kBatches; ++stop_after) {
    torch::manual_seed(7);
    TrainingRun whole(options);
    torch::manual_seed(7);
    TrainingRun stopped(options);
    torch::manual_seed(8);
    whole.fit();
    torch::manual_seed(8);
    stopped.before_step = [&](int64_t, int64_t) {
      if (stopped.trainer.global_step() + 1 < stop_after) return;
      stopped.trainer.save_checkpoint(path);
      stopped.trainer.stop();
    };
    stopped.fit();
    EXPECT_EQ(stopped.trainer.global_step(), stop_after);
    torch::manual_seed(9);
    TrainingRun resumed(options);  // other first values, which the checkpoint replaces
    resumed.fit(path);
    EXPECT_EQ(resumed.trainer.global_step(), kEpochs * kBatches);
    expect_same_end(whole, resumed);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, ResumeTest,
                         ::testing::Values(std::tuple(false, StepInterval::kEpoch),
                                           std::tuple(true, StepInterval::kEpoch),
                                           std::tuple(true, StepInterval::kStep)));

/// Saves the run at the end of an epoch and stops it.
class SaveAndStop final : public Callback {
 public:
  void on_train_epoch_end(torch::nn::Module&) override {
    if (trainer == nullptr || trainer->current_epoch() != epoch) return;
    trainer->save_checkpoint(path);
    trainer->stop();
  }
  Trainer* trainer = nullptr;  // null: does nothing
  int64_t epoch = 0;
  std::string path;
};

TEST_P(ResumeTest, GoesOnFromTheEndOfEveryEpoch) {
  const auto options = options_of(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const TempDir dir;
  const auto train = [&](TrainingRun& run, const std::shared_ptr<SaveAndStop>& save,
                         const std::string& ckpt_path) {
    // First in the list: the file is written when the masks have advanced all the same.
    run.trainer = Trainer({.max_epochs = kEpochs, .callbacks = {save, run.sparsity}});
    run.fit(ckpt_path);
  };
  torch::manual_seed(7);
  TrainingRun whole(options);
  train(whole, std::make_shared<SaveAndStop>(), "");
  for (int64_t epoch = 0; epoch + 1 < kEpochs; ++epoch) {
    torch::manual_seed(7);
    TrainingRun stopped(options);
    const auto save = std::make_shared<SaveAndStop>();
    save->trainer = &stopped.trainer;
    save->epoch = epoch;
    save->path = dir.path("run.pt");
    train(stopped, save, "");
    EXPECT_EQ(stopped.trainer.current_epoch(), epoch + 1);
    TrainingRun resumed(options);
    train(resumed, std::make_shared<SaveAndStop>(), save->path);
    expect_same_end(whole, resumed);
  }
}

TEST(Trainer, ResumesWithAnOptimizerThatHasStepped) {
  const TempDir dir;
  const auto options = options_of(true, StepInterval::kStep);
  torch::manual_seed(7);
  TrainingRun whole(options);
  whole.fit();
  torch::manual_seed(7);
  TrainingRun stopped(options);
  stopped.before_step = [&](int64_t, int64_t) {
    stopped.trainer.save_checkpoint(dir.path("run.pt"));
    stopped.trainer.stop();
  };
  stopped.fit();
  TrainingRun resumed(options);
  resumed.fit();
  resumed.fit(dir.path("run.pt"));
  expect_same_end(whole, resumed);
}

TEST(Trainer, ASecondFitGoesOn) {
  for (const bool apply_to_model : {true, false}) {
    TrainingRun run(options_of(apply_to_model, StepInterval::kEpoch));
    run.fit();
    const int64_t epoch = run.sparsity->data_scheduler()->last_epoch();
    const at::Tensor mask = run.sparsity->data_sparsifier()->get_mask("linears_0_weight").clone();
    testing::CapturedWarnings warnings;  // of a schedule that ended in the first run: none
    at::Tensor at_start;
    run.before_step = [&](int64_t, int64_t) {
      if (!at_start.defined()) {
        at_start = run.sparsity->data_sparsifier()->get_mask("linears_0_weight").clone();
      }
    };
    run.fit();
    EXPECT_THAT(warnings.messages(),
                ::testing::Not(::testing::Contains(HasSubstr("of the schedule"))));
    EXPECT_TRUE(at_start.equal(mask));
    EXPECT_EQ(mask.sum().item<int64_t>(), 8);
    EXPECT_EQ(run.sparsity->data_scheduler()->last_epoch(), epoch + kEpochs);
    if (apply_to_model) {
      EXPECT_EQ(zeros_in(run.model->named_parameters()["linears.0.weight"]), 24);
    }
  }
}

TEST(Trainer, AFitOfAnotherModelStartsAnew) {
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.fit();
  Linears other(/*bias=*/true);
  torch::optim::SGD optimizer(other->parameters(), 0.1);
  Trainer trainer({.max_epochs = 0, .callbacks = {run.sparsity}});
  trainer.fit(*other, optimizer, 1, [](int64_t, int64_t) { return at::Tensor(); });
  EXPECT_EQ(run.sparsity->data_scheduler()->last_epoch(), 0);
}

TEST(Trainer, AFailedStartOfASecondFitLeavesNothingBehind) {
  TrainingAwareOptions options = options_of(true, StepInterval::kEpoch);
  bool fail = false;
  options.attach.filter = [&](const std::string& fqn, const at::Tensor&) {
    return fail || fqn == "linears.0.weight";
  };
  TrainingRun run(options);
  run.fit();
  fail = true;  // the filter takes in more than it did
  EXPECT_THROW(run.fit(), c10::Error);
  fail = false;
  Linears other(/*bias=*/true);
  torch::optim::SGD optimizer(other->parameters(), 0.1);
  Trainer trainer({.max_epochs = 0, .callbacks = {run.sparsity}});
  trainer.fit(*other, optimizer, 1, [](int64_t, int64_t) { return at::Tensor(); });
  EXPECT_EQ(run.sparsity->data_scheduler()->last_epoch(), 0);
  EXPECT_EQ(zeros_in(run.sparsity->data_sparsifier()->get_mask("linears_0_weight")), 0);
}

TEST(Trainer, WarnsOfARunThatEndsBeforeItsSchedule) {
  const auto warnings_of = [](int64_t max_epochs, StepInterval interval) {
    TrainingRun run(options_of(true, interval), max_epochs);  // to end_step 2
    testing::CapturedWarnings warnings;
    run.fit();
    std::string all;
    for (const std::string& message : warnings.messages()) all += message;
    return all;
  };
  EXPECT_THAT(
      warnings_of(2, StepInterval::kEpoch),
      ::testing::AllOf(HasSubstr("makes 2 more steps of the schedule"), HasSubstr("on to step 2")));
  EXPECT_THAT(warnings_of(3, StepInterval::kEpoch), ::testing::Not(HasSubstr("of the schedule")));
  // 4 batches an epoch, a step every 3.
  EXPECT_THAT(warnings_of(2, StepInterval::kStep), HasSubstr("makes 2 more steps of the schedule"));
  EXPECT_THAT(warnings_of(3, StepInterval::kStep), ::testing::Not(HasSubstr("of the schedule")));
}

TEST(Trainer, CountsWithoutOverflowAndFromWhereTheScheduleIs) {
  testing::CapturedWarnings warnings;
  TrainingRun endless(options_of(true, StepInterval::kStep), std::numeric_limits<int64_t>::max());
  endless.before_step = [&](int64_t, int64_t) { endless.trainer.stop(); };
  endless.fit();
  EXPECT_THAT(warnings.messages(),
              ::testing::Not(::testing::Contains(HasSubstr("of the schedule"))));
}

TEST(Trainer, SaysThatTheLossIsUndefined) {
  Linears model;
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  Trainer trainer({.max_epochs = 1});
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                trainer.fit(*model, optimizer, 1, [](int64_t, int64_t) { return at::Tensor(); });
              }),
              HasSubstr("epoch 0, batch 0 returned an undefined tensor"));
}

// What fails in the middle of a batch leaves nothing that could be gone on from exactly.
TEST(Trainer, SavesNothingAfterAnException) {
  const TempDir dir;
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.before_step = [](int64_t, int64_t batch_idx) {
    if (batch_idx == 2) throw std::runtime_error("no more data");
  };
  EXPECT_THROW(run.fit(), std::runtime_error);
  EXPECT_THAT(message_of<c10::Error>([&] { run.trainer.save_checkpoint(dir.path("run.pt")); }),
              HasSubstr("ended by an exception"));
  EXPECT_TRUE(dir.names().empty());
}

TEST(Trainer, RefusesWhatCannotBeRun) {
  EXPECT_THAT(message_of<c10::ValueError>([] { Trainer({.max_epochs = -1}); }),
              HasSubstr("max_epochs"));
  EXPECT_THAT(message_of<c10::ValueError>([] { Trainer({.callbacks = {nullptr}}); }),
              HasSubstr("callbacks"));
  Trainer trainer({});
  EXPECT_THAT(message_of<c10::Error>([&] { trainer.save_checkpoint("x.pt"); }),
              HasSubstr("before fit"));
  Linears model;
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  EXPECT_THAT(message_of<c10::ValueError>([&] { trainer.fit(*model, optimizer, 1, nullptr); }),
              HasSubstr("training step"));
}

}  // namespace
}  // namespace winnow
