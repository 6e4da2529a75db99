#include "winnow/torch/training/trainer.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "io/temp_dir.h"
#include "torch/sparsifiers.h"
#include "torch/training/models.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/torch_file.h"
#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Linears;
using testing::message_of;
using testing::TempDir;
using testing::zeros_in;

constexpr int64_t kBatches = 4;
constexpr int64_t kEpochs = 3;

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

at::Tensor batch_of(int64_t epoch, int64_t batch_idx) {
  return torch::arange(16, at::kFloat).reshape({2, 8}) * 0.01 +
         0.1 * static_cast<double>(epoch * kBatches + batch_idx);
}

/// A run that uses all that a checkpoint has to bring back: momentum, random numbers, masks.
struct TrainingRun {
  explicit TrainingRun(TrainingAwareOptions options, int64_t max_epochs = kEpochs)
      : sparsity(std::make_shared<TrainingAwareDataSparsity>(std::move(options))),
        trainer({.max_epochs = max_epochs, .callbacks = {sparsity}}) {}

  void fit(const std::string& ckpt_path = "") {
    trainer.fit(
        *model, optimizer, kBatches,
        [&](int64_t epoch, int64_t batch_idx) {
          if (before_step) before_step(epoch, batch_idx);
          const at::Tensor noise = 0.1 * torch::randn({2, 8});
          return model->forward(batch_of(epoch, batch_idx) + noise).square().sum();
        },
        ckpt_path);
  }

  Linears model{/*bias=*/true};
  torch::optim::Adam optimizer{model->parameters(),
                               torch::optim::AdamOptions(0.01).weight_decay(0.01)};
  std::shared_ptr<TrainingAwareDataSparsity> sparsity;
  Trainer trainer;
  std::function<void(int64_t, int64_t)> before_step;
};

TrainingAwareOptions options_of(bool apply_to_model, StepInterval interval) {
  return {.make_sparsifier =
              [] {
                return std::make_unique<DataNormSparsifier>(DataNormSparsifierOptions{
                    .sparsity_level = 0.75, .sparse_block_shape = {1, 2}});
              },
          .make_scheduler =
              [](BaseDataSparsifier& sparsifier) {
                return std::make_unique<CubicDataScheduler>(
                    sparsifier, CubicDataSchedulerOptions{.end_step = 2});
              },
          .apply_to_model = apply_to_model,
          .interval = interval,
          .frequency = 3};
}

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

/// Saves the run at the end of its second epoch and stops it.
class SaveAndStop final : public Callback {
 public:
  SaveAndStop(Trainer* trainer, std::string path) : trainer_(trainer), path_(std::move(path)) {}
  void on_train_epoch_end(torch::nn::Module&) override {
    if (trainer_ == nullptr || trainer_->current_epoch() != 1) return;
    trainer_->save_checkpoint(path_);
    trainer_->stop();
  }

 private:
  Trainer* trainer_;  // null: does nothing
  std::string path_;
};

TEST(Trainer, ResumesAtTheEndOfAnEpoch) {
  const TempDir dir;
  const auto options = options_of(true, StepInterval::kEpoch);
  const auto run_with = [&](TrainingRun& run, Trainer* saved, const std::string& ckpt_path) {
    const auto save = std::make_shared<SaveAndStop>(saved, dir.path("run.pt"));
    // First in the list: the file is written when the masks have advanced all the same.
    run.trainer = Trainer({.max_epochs = kEpochs, .callbacks = {save, run.sparsity}});
    run.fit(ckpt_path);
  };
  torch::manual_seed(7);
  TrainingRun whole(options);
  run_with(whole, nullptr, "");
  torch::manual_seed(7);
  TrainingRun stopped(options);
  run_with(stopped, &stopped.trainer, "");
  EXPECT_EQ(stopped.trainer.current_epoch(), 2);
  TrainingRun resumed(options);
  run_with(resumed, nullptr, dir.path("run.pt"));
  expect_same_end(whole, resumed);
}

std::string saved_run(const TempDir& dir) {
  const std::string path = dir.path("run.pt");
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.before_step = [&](int64_t epoch, int64_t) {
    if (epoch == 1) run.trainer.stop();
  };
  run.fit();
  run.trainer.save_checkpoint(path);
  return path;
}

std::string refused_resume(TrainingRun& run, const std::string& path) {
  const auto before = run.model->parameters();
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : before) copies.push_back(tensor.detach().clone());
  const std::string message = message_of<c10::Error>([&] { run.fit(path); });
  for (size_t i = 0; i < copies.size(); ++i) EXPECT_TRUE(before[i].equal(copies[i]));
  EXPECT_TRUE(run.optimizer.state().empty());
  return message;
}

TEST(Checkpoint, IsRefusedByAnotherConfiguration) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  TrainingRun by_step(options_of(true, StepInterval::kStep));
  EXPECT_THAT(refused_resume(by_step, path), HasSubstr("interval was epoch and is step now"));
  TrainingRun copies(options_of(false, StepInterval::kEpoch));
  EXPECT_THAT(refused_resume(copies, path), HasSubstr("apply_to_model was True and is False now"));
  TrainingRun alone(options_of(true, StepInterval::kEpoch));
  alone.trainer = Trainer({.max_epochs = kEpochs});
  EXPECT_THAT(refused_resume(alone, path), HasSubstr("other callbacks"));
}

TEST(Checkpoint, IsRefusedByAnotherModelOrOptimizer) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.model = Linears(/*bias=*/false);
  EXPECT_THAT(refused_resume(run, path), HasSubstr("the model has no 'linears.0.bias'"));

  TrainingRun other(options_of(true, StepInterval::kEpoch));
  torch::optim::SGD sgd(other.model->parameters(), 0.1);
  EXPECT_THAT(message_of<c10::Error>([&] {
                other.trainer.fit(
                    *other.model, sgd, kBatches, [](int64_t, int64_t) { return at::Tensor(); },
                    path);
              }),
              HasSubstr("the optimizer was Adam and is SGD now"));
  EXPECT_THAT(message_of<c10::Error>([&] {
                other.trainer.fit(
                    *other.model, other.optimizer, kBatches + 1,
                    [](int64_t, int64_t) { return at::Tensor(); }, path);
              }),
              HasSubstr("an epoch had 4 batches then, and has 5 now"));
}

TEST(Checkpoint, IsRefusedWhereItIsDamaged) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  const std::string whole = testing::read_file(path);
  const auto refused = [&](const std::string& bytes) {
    testing::write_file(path, bytes);
    TrainingRun run(options_of(true, StepInterval::kEpoch));
    return refused_resume(run, path);
  };
  for (const size_t size : {size_t{0}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    EXPECT_THAT(refused(whole.substr(0, size)), HasSubstr("run.pt")) << size;
  }
  for (size_t place = 64; place < whole.size() / 2; place += whole.size() / 16) {
    std::string flipped = whole;
    flipped[place] = static_cast<char>(flipped[place] ^ 0x10);
    testing::write_file(path, flipped);
    TrainingRun run(options_of(true, StepInterval::kEpoch));
    try {
      run.fit(path);
    } catch (const c10::Error&) {
      continue;
    }
    ADD_FAILURE() << "a flipped bit at " << place << " went unseen";
  }
  save_torch_file(path, to_value(NamedValues{{"weights", torch::ones({2})}}));
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  EXPECT_THAT(refused_resume(run, path), HasSubstr("it is no checkpoint of a Trainer"));
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
