// What a training loop tells those who listen: Lightning's hooks by name and order, without its
// trainer. Any loop can call them; Trainer (training/trainer.h) is one that does.
//
//   for (auto& callback : callbacks) callback->on_train_start(*model);
//
// The order of one run:
//
//   setup, on_fit_start, on_train_start,
//     for each epoch: on_train_epoch_start,
//       for each batch: on_train_batch_start, (forward), on_before_zero_grad, on_before_backward,
//                       on_after_backward, on_before_optimizer_step, (optimizer.step),
//                       on_train_batch_end,
//       on_train_epoch_end,
//   on_train_end, on_fit_end, teardown
//
// Source: lightning.pytorch.Callback, whose arguments `trainer` and `pl_module` are the model here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "winnow/torch/named_values.h"

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace winnow {

/// Every hook does nothing unless it is overridden. A hook that throws ends the loop that called
/// it. Thread-safety: none; a loop calls from one thread.
class Callback {
 public:
  virtual ~Callback() = default;

  /// When each is called: the list above. `model` is the one that trains.
  virtual void setup(torch::nn::Module& model) { (void)model; }
  virtual void on_fit_start(torch::nn::Module& model) { (void)model; }
  virtual void on_train_start(torch::nn::Module& model) { (void)model; }
  /// After on_train_start, from loops that know how long the run is; for warnings of what it is too
  /// short for.
  /// @param epochs  whose end is still to come
  /// @param batches still to come, of all those epochs; the largest int64 where there are more
  virtual void on_run_length(torch::nn::Module& model, int64_t epochs, int64_t batches) {
    (void)model, (void)epochs, (void)batches;
  }
  virtual void on_train_epoch_start(torch::nn::Module& model) { (void)model; }
  /// @param batch_idx counts from 0 in each epoch
  virtual void on_train_batch_start(torch::nn::Module& model, int64_t batch_idx) {
    (void)model, (void)batch_idx;
  }
  /// @param optimizer the one that makes the step; a callback may keep a pointer until the run ends
  virtual void on_before_zero_grad(torch::nn::Module& model, torch::optim::Optimizer& optimizer) {
    (void)model, (void)optimizer;
  }
  /// @param loss what goes backward, with its graph
  virtual void on_before_backward(torch::nn::Module& model, const at::Tensor& loss) {
    (void)model, (void)loss;
  }
  virtual void on_after_backward(torch::nn::Module& model) { (void)model; }
  /// Gradients are complete; clipping and the like go here.
  virtual void on_before_optimizer_step(torch::nn::Module& model,
                                        torch::optim::Optimizer& optimizer) {
    (void)model, (void)optimizer;
  }
  /// After the step: where masks are applied.
  virtual void on_train_batch_end(torch::nn::Module& model, int64_t batch_idx) {
    (void)model, (void)batch_idx;
  }
  /// After the last batch of an epoch.
  virtual void on_train_epoch_end(torch::nn::Module& model) { (void)model; }
  virtual void on_train_end(torch::nn::Module& model) { (void)model; }
  virtual void on_fit_end(torch::nn::Module& model) { (void)model; }
  virtual void teardown(torch::nn::Module& model) { (void)model; }

  /// Everything that this needs to go on after a stop, as plain data and tensors, and back. A run
  /// that is resumed calls load_state_dict before setup.
  virtual NamedValues state_dict() const { return {}; }
  virtual void load_state_dict(const NamedValues& state) { (void)state; }

  /// Throws where `state` cannot be gone on from with `model` and the options of this object, and
  /// changes nothing. Who resumes a run asks all callbacks before anything is loaded.
  virtual void check_state_dict(const NamedValues& state, torch::nn::Module& model) const {
    (void)state, (void)model;
  }
};

}  // namespace winnow
