// Hooks of a training loop, with Lightning's names and order but without its trainer. Any loop can
// call them; Trainer (training/trainer.h) does.
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

/// The interface of callbacks. A hook that is not overridden does nothing. An exception from a hook
/// ends the loop that called it. Thread-safety: none; a loop calls from one thread.
class Callback {
 public:
  virtual ~Callback() = default;

  /// The list above says when each hook is called. `model` is the model being trained.
  virtual void setup(torch::nn::Module& /*model*/) {}
  virtual void on_fit_start(torch::nn::Module& /*model*/) {}
  virtual void on_train_start(torch::nn::Module& /*model*/) {}
  /// Called after on_train_start by loops that know the length of the run, so that a callback can
  /// warn if it is too short.
  /// @param epochs  number of epochs that will still end
  /// @param batches number of batches still to come in all those epochs, at most the largest int64
  virtual void on_run_length(torch::nn::Module& /*model*/, int64_t /*epochs*/,
                             int64_t /*batches*/) {}
  virtual void on_train_epoch_start(torch::nn::Module& /*model*/) {}
  /// @param batch_idx counts from 0 in each epoch
  virtual void on_train_batch_start(torch::nn::Module& /*model*/, int64_t /*batch_idx*/) {}
  /// @param optimizer the one that makes the step; a callback may keep a pointer until the run ends
  virtual void on_before_zero_grad(torch::nn::Module& /*model*/,
                                   torch::optim::Optimizer& /*optimizer*/) {}
  /// @param loss the loss that will be differentiated, with its graph
  virtual void on_before_backward(torch::nn::Module& /*model*/, const at::Tensor& /*loss*/) {}
  virtual void on_after_backward(torch::nn::Module& /*model*/) {}
  /// Called when the gradients are complete; the place for clipping and the like.
  virtual void on_before_optimizer_step(torch::nn::Module& /*model*/,
                                        torch::optim::Optimizer& /*optimizer*/) {}
  /// Called after the step; the place for applying masks.
  virtual void on_train_batch_end(torch::nn::Module& /*model*/, int64_t /*batch_idx*/) {}
  /// Called after the last batch of an epoch.
  virtual void on_train_epoch_end(torch::nn::Module& /*model*/) {}
  virtual void on_train_end(torch::nn::Module& /*model*/) {}
  virtual void on_fit_end(torch::nn::Module& /*model*/) {}
  virtual void teardown(torch::nn::Module& /*model*/) {}

  /// Returns everything that the callback needs to resume, as plain data and tensors.
  virtual NamedValues state_dict() const { return {}; }
  /// Restores what state_dict returned. A resumed run calls it before setup.
  virtual void load_state_dict(const NamedValues& /*state*/) {}

  /// Throws if training cannot resume from `state` with this `model` and the options of this
  /// object. Changes nothing. A loop calls it for all callbacks before it loads anything.
  virtual void check_state_dict(const NamedValues& /*state*/, torch::nn::Module& /*model*/) const {}
};

}  // namespace winnow
