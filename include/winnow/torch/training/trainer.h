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
  /// c10::ValueError for a negative number of batches or a step that is missing. Errors of
  /// load_checkpoint; model and optimizer are unchanged then.
  void fit(torch::nn::Module& model, torch::optim::Optimizer& optimizer, int64_t batches,
           const TrainingStep& training_step, const std::string& ckpt_path = "");

  /// Ends fit after the current batch. For hooks and training steps.
  void stop() noexcept { should_stop_ = true; }

  /// Writes model, optimizer, the random generator of the CPU, every callback's state and the place
  /// in the run. From a hook or after fit: what is saved is the run as it stands after the last
  /// batch that ended. The file appears whole or not at all; torch.load(weights_only=True) reads
  /// it. c10::Error where nothing was fitted yet or the file cannot be written.
  void save_checkpoint(const std::string& path) const;

  int64_t current_epoch() const noexcept { return epoch_; }
  /// Optimizer steps so far.
  int64_t global_step() const noexcept { return global_step_; }

 private:
  TrainerOptions options_;
  torch::nn::Module* model_ = nullptr;
  torch::optim::Optimizer* optimizer_ = nullptr;
  int64_t epoch_ = 0;
  int64_t next_batch_ = 0;
  int64_t batches_ = 0;
  int64_t global_step_ = 0;
  bool should_stop_ = false;
};

}  // namespace winnow
