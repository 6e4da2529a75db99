// A small training loop that calls callbacks. A convenience for examples and tests: the callbacks
// work from a loop of your own as well.
//
//   winnow::Trainer trainer({.max_epochs = 3, .callbacks = {sparsity}});
//   trainer.fit(model, optimizer, batches_per_epoch, [&](int64_t epoch, int64_t batch_idx) {
//     return loss_of(model->forward(inputs(epoch, batch_idx)), targets(epoch, batch_idx));
//   });
//
// Stop and resume, bit-identical to a run that was not stopped:
//
//   trainer.save_checkpoint("run.pt");                       // between two batches, at any of them
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

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace winnow {

struct TrainerOptions {
  int64_t max_epochs = 1;  ///< at least 0
  std::vector<std::shared_ptr<Callback>> callbacks = {};
};

/// A place between two batches of a run.
struct TrainingProgress {
  int64_t epoch = 0;
  int64_t next_batch = 0;   ///< of that epoch; equal to `batches` before on_train_epoch_end
  int64_t batches = 0;      ///< of every epoch
  int64_t global_step = 0;  ///< optimizer steps so far
};

/// Thread-safety: none.
class Trainer {
 public:
  /// The loss of one batch, with gradient. Where a run is to be resumed, the batch must depend on
  /// the two numbers only: shuffle by the epoch.
  using TrainingStep = std::function<at::Tensor(int64_t epoch, int64_t batch_idx)>;

  /// c10::ValueError for options out of their range and null callbacks.
  explicit Trainer(TrainerOptions options);

  /// Trains from the first epoch, or from `ckpt_path` on, up to max_epochs or until stop() is
  /// called; puts the model into training mode before. After a stop, on_train_end and the hooks
  /// after it are not called, since the run is not over. What the step or a hook throws passes
  /// through.
  ///
  /// @param batches of each epoch
  /// c10::ValueError for a negative number of batches or a step that is missing. c10::Error where
  /// the checkpoint cannot be read, is damaged, or is that of another model, optimizer, number of
  /// batches, or of callbacks with another configuration; model, optimizer and callbacks are
  /// unchanged then. What the optimizer was constructed with comes from the file. Of
  /// optimizers other than SGD, Adam, AdamW, RMSprop and Adagrad that part is read by LibTorch: for
  /// those, resume from files that you trust.
  void fit(torch::nn::Module& model, torch::optim::Optimizer& optimizer, int64_t batches,
           const TrainingStep& training_step, const std::string& ckpt_path = "");

  /// Ends fit after the current batch or, from on_train_epoch_end, after that hook. For hooks and
  /// training steps.
  void stop() noexcept { should_stop_ = true; }

  /// Writes model, optimizer, LibTorch's random generator of the CPU, every callback's state and
  /// the place in the run. The file appears whole or not at all; torch.load(weights_only=True)
  /// reads it in Python. Called from a hook or a training step, the file is written once the hooks
  /// of that batch, or of the epoch's end, have all run; after fit, at once. Model and optimizer
  /// have to live then.
  /// c10::Error where nothing was fitted yet, where an exception ended fit in the middle of a batch
  /// or of an epoch's end, from where nothing could be resumed exactly, or where the file cannot be
  /// written.
  void save_checkpoint(const std::string& path);

  /// From 0.
  int64_t current_epoch() const noexcept { return progress_.epoch; }
  /// Optimizer steps so far.
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
