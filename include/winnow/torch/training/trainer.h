// A small training loop that calls callbacks. It is a convenience for examples and tests; the
// callbacks also work in your own training loop.
//
//   winnow::Trainer trainer({.max_epochs = 3, .callbacks = {sparsity}});
//   trainer.fit(model, optimizer, batches_per_epoch, [&](int64_t epoch, int64_t batch_idx) {
//     return loss_of(model->forward(inputs(epoch, batch_idx)), targets(epoch, batch_idx));
//   });
//
// Stop and resume, bit-identical to a run that was not stopped:
//
//   trainer.save_checkpoint("run.pt");                       // between any two batches
//   ...
//   trainer.fit(model, optimizer, batches, step, "run.pt");  // in another process
//
// Source: lightning.pytorch.Trainer, whose names it uses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/torch/training/callback.h"

namespace winnow {

/// Options of Trainer.
struct TrainerOptions {
  int64_t max_epochs = 1;                                 ///< at least 0
  std::vector<std::shared_ptr<Callback>> callbacks = {};  ///< called in this order
};

/// A position between two batches of a run.
struct TrainingProgress {
  int64_t epoch = 0;
  int64_t next_batch = 0;   ///< in that epoch; equal to `batches` before on_train_epoch_end
  int64_t batches = 0;      ///< in every epoch
  int64_t global_step = 0;  ///< optimizer steps so far
};

/// Trains a model and calls the callbacks. Thread-safety: none.
class Trainer {
 public:
  /// Returns the loss of one batch, with gradient. To make a run resumable, the batch must depend
  /// only on the two numbers: shuffle by the epoch.
  using TrainingStep = std::function<at::Tensor(int64_t epoch, int64_t batch_idx)>;

  /// Throws c10::ValueError for options out of range and for null callbacks.
  explicit Trainer(TrainerOptions options);

  /// Puts the model into training mode and trains it from the first epoch, or from the checkpoint
  /// `ckpt_path`, up to max_epochs or until stop() is called. After a stop, on_train_end and the
  /// hooks after it are not called, because the run is not over. Exceptions of the step and of
  /// hooks pass through.
  ///
  /// The optimizer's options are restored from the checkpoint. LibTorch reads them for optimizers
  /// other than SGD, Adam, AdamW, RMSprop and Adagrad; with such optimizers, resume only from files
  /// that you trust.
  ///
  /// @param batches in each epoch
  /// Throws c10::ValueError for a negative number of batches or a null step. Throws c10::Error if
  /// the checkpoint cannot be read, is damaged, or belongs to another model, optimizer or number of
  /// batches, or to callbacks with another configuration; model, optimizer and callbacks are
  /// unchanged then.
  void fit(torch::nn::Module& model, torch::optim::Optimizer& optimizer, int64_t batches,
           const TrainingStep& training_step, const std::string& ckpt_path = "");

  /// Makes fit return after the current batch or, if called from on_train_epoch_end, after that
  /// hook. For hooks and training steps.
  void stop() noexcept { should_stop_ = true; }

  /// Writes model, optimizer, LibTorch's random generator of the CPU, all callbacks' states and the
  /// position in the run. The file is written completely or not at all;
  /// torch.load(weights_only=True) reads it in Python. If called from a hook or a training step,
  /// the file is written after all hooks of that batch, or of the epoch's end, have run. After fit,
  /// it is written at once; model and optimizer must still be alive.
  ///
  /// Throws c10::Error if fit was not called yet; if an exception ended fit in the middle of a
  /// batch or of an epoch's end, from where an exact resume is impossible; or if the file cannot be
  /// written.
  void save_checkpoint(const std::string& path);

  /// Returns the current epoch, counted from 0.
  int64_t current_epoch() const noexcept { return progress_.epoch; }
  /// Returns the number of optimizer steps so far.
  int64_t global_step() const noexcept { return progress_.global_step; }

 private:
  template <typename... Args, typename... Given>
  void for_each(void (Callback::*hook)(torch::nn::Module&, Args...), Given&&... given) {
    for (const auto& callback : options_.callbacks) (callback.get()->*hook)(*model_, given...);
  }
  void fit_epoch(const TrainingStep& training_step);
  void fit_batch(const TrainingStep& training_step);
  void save_pending();

  TrainerOptions options_;
  TrainingProgress progress_;
  torch::nn::Module* model_ = nullptr;
  torch::optim::Optimizer* optimizer_ = nullptr;
  std::string pending_checkpoint_;
  bool fitting_ = false;
  bool between_batches_ = false;  // false after an exception
  bool should_stop_ = false;
};

}  // namespace winnow
