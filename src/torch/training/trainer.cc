#include "winnow/torch/training/trainer.h"

#include <c10/util/Exception.h>
#include <c10/util/ScopeExit.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "torch/training/checkpoint.h"
#include "torch/training/optimizer_state.h"
#include "torch/training/random_state.h"

namespace winnow {
using namespace internal;

namespace {

/// parameters() lists a tied weight twice, so an optimizer made of it updates the weight twice.
void warn_of_repeated_parameters(const torch::optim::Optimizer& optimizer) {
  const int64_t index = repeated_parameter(optimizer);
  if (index < 0) return;
  TORCH_WARN("the optimizer holds a tensor twice (parameter ", index,
             " is an earlier one, a tied weight perhaps): each step moves it twice. "
             "distinct_parameters(model) has every tensor once");
}

int64_t batches_ahead(int64_t epochs, const TrainingProgress& progress) {
  // A run that only stop() ends may have the largest max_epochs.
  int64_t batches = 0;
  if (__builtin_mul_overflow(epochs, progress.batches, &batches)) {
    return std::numeric_limits<int64_t>::max();
  }
  return std::max<int64_t>(batches - progress.next_batch, 0);
}

}  // namespace

Trainer::Trainer(TrainerOptions options) : options_(std::move(options)) {
  TORCH_CHECK_VALUE(options_.max_epochs >= 0, "max_epochs: expected at least 0, found ",
                    options_.max_epochs);
  for (const auto& callback : options_.callbacks) {
    TORCH_CHECK_VALUE(callback != nullptr, "callbacks: one of them is null");
  }
}

void Trainer::fit(torch::nn::Module& model, torch::optim::Optimizer& optimizer, int64_t batches,
                  const TrainingStep& training_step, const std::string& ckpt_path) {
  TORCH_CHECK_VALUE(batches >= 0, "batches: expected at least 0, found ", batches);
  TORCH_CHECK_VALUE(training_step != nullptr, "the training step is missing");
  // Loaded before any member changes, so that a failing load leaves the trainer as it was.
  Checkpoint from{.progress = {.batches = batches}, .rng_state = {}};
  if (!ckpt_path.empty()) {
    from = load_checkpoint(ckpt_path, model, optimizer, options_.callbacks, batches);
  }
  progress_ = from.progress;
  model_ = &model;
  optimizer_ = &optimizer;
  should_stop_ = false;
  between_batches_ = false;
  pending_checkpoint_.clear();
  fitting_ = true;
  const auto end = c10::make_scope_exit([this] { fitting_ = false; });
  warn_of_repeated_parameters(optimizer);
  model.train();
  for_each(&Callback::setup);
  for_each(&Callback::on_fit_start);
  for_each(&Callback::on_train_start);
  const int64_t epochs = std::max<int64_t>(options_.max_epochs - progress_.epoch, 0);
  for_each(&Callback::on_run_length, epochs, batches_ahead(epochs, progress_));
  // Only now, because hooks may draw random numbers, for example for a copy of the model.
  if (from.rng_state.defined()) set_random_state(from.rng_state);
  between_batches_ = true;
  while (!should_stop_ && progress_.epoch < options_.max_epochs) fit_epoch(training_step);
  if (progress_.epoch < options_.max_epochs) return;  // stopped: the run is not over
  for_each(&Callback::on_train_end);
  for_each(&Callback::on_fit_end);
  for_each(&Callback::teardown);
}

void Trainer::fit_epoch(const TrainingStep& training_step) {
  // A run that resumes in the middle of an epoch has called this hook before it was saved.
  if (progress_.next_batch == 0) for_each(&Callback::on_train_epoch_start);
  while (progress_.next_batch < progress_.batches) {
    fit_batch(training_step);
    // In the middle of an epoch its end has not come, so no hook says so.
    if (should_stop_) return;
  }
  between_batches_ = false;
  for_each(&Callback::on_train_epoch_end);
  // After the hooks: a hook that throws leaves the epoch unfinished.
  ++progress_.epoch;
  progress_.next_batch = 0;
  between_batches_ = true;
  save_pending();
}

void Trainer::fit_batch(const TrainingStep& training_step) {
  const int64_t batch_idx = progress_.next_batch;
  between_batches_ = false;
  for_each(&Callback::on_train_batch_start, batch_idx);
  // Lightning's order: forward first, then zero_grad and backward.
  const at::Tensor loss = training_step(progress_.epoch, batch_idx);
  TORCH_CHECK_VALUE(loss.defined(), "the training step of epoch ", progress_.epoch, ", batch ",
                    batch_idx, " returned an undefined tensor, where the loss is expected");
  for_each(&Callback::on_before_zero_grad, *optimizer_);
  optimizer_->zero_grad();
  for_each(&Callback::on_before_backward, loss);
  loss.backward();
  for_each(&Callback::on_after_backward);
  for_each(&Callback::on_before_optimizer_step, *optimizer_);
  optimizer_->step();
  ++progress_.global_step;
  for_each(&Callback::on_train_batch_end, batch_idx);
  ++progress_.next_batch;
  between_batches_ = true;
  save_pending();
}

void Trainer::save_checkpoint(const std::string& path) {
  TORCH_CHECK(model_ != nullptr, "save_checkpoint was called before fit: there is no run to save");
  TORCH_CHECK(
      fitting_ || between_batches_,
      "fit was ended by an exception in the middle of a batch: a run that goes on from here "
      "would not be the same; save checkpoints while it runs");
  // From a hook, wait for the other hooks of this batch: all callbacks must be at one position.
  pending_checkpoint_ = path;
  if (!fitting_) save_pending();
}

void Trainer::save_pending() {
  if (pending_checkpoint_.empty()) return;
  // Cleared before the write: if it fails, it is not tried again after the next batch.
  const std::string path = std::exchange(pending_checkpoint_, "");
  winnow::save_checkpoint(path, *model_, *optimizer_, options_.callbacks, progress_);
}

}  // namespace winnow
