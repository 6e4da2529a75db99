// Holds masks while a model trains: dropped values stay zero from step to step.
//
//   winnow::HeldMasks held(sparsifier);
//   for (...) {
//     loss.backward();
//     optimizer.step();
//     held.apply(&optimizer);
//   }
//
// The model computes with its own weights, in which dropped values are zero, so forward needs no
// multiplication by a mask. The gradients of dropped values are not changed.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "winnow/torch/data_sparsifier.h"

namespace torch::optim {
class Optimizer;
}

namespace winnow {

/// Returns the optimizer's momenta of `parameter`, which it adds to the parameter later: the
/// `momentum_buffer` of SGD and RMSprop, `exp_avg` of Adam and AdamW. Averages of squares
/// (exp_avg_sq, square_avg, sum) only scale a step and are not included. Returns nothing before the
/// optimizer's first step, and for Adagrad.
///
/// Throws c10::TypeError for any other class of optimizer, including LBFGS: pass your own function
/// to HeldMasks.
std::vector<at::Tensor> momenta_of(const torch::optim::Optimizer& optimizer,
                                   const at::Tensor& parameter);

/// Keeps the dropped values of a sparsifier's data zero. Refers to the sparsifier: `apply` throws
/// c10::Error after the sparsifier was destroyed. Thread-safety: none.
class HeldMasks {
 public:
  /// Returns the momenta of a parameter, as winnow::momenta_of does.
  using MomentaOf =
      std::function<std::vector<at::Tensor>(const torch::optim::Optimizer&, const at::Tensor&)>;

  /// @param momenta_of replaces winnow::momenta_of, for optimizers that it does not support
  /// Throws c10::ValueError if all data are squashed, because there are no masks left to hold.
  explicit HeldMasks(const BaseDataSparsifier& sparsifier, MomentaOf momenta_of = nullptr);

  /// Sets the dropped values of all data that are not squashed, and of the optimizer's momenta of
  /// them, to +0, in place and in one pass over each mask; all other values keep their bits. Call
  /// it after optimizer.step(). Weight decay and momentum then keep the zeros. Momenta of sparse
  /// gradients are masked entry by entry.
  ///
  /// Allocates nothing of a tensor's size if weights and momenta are contiguous on the CPU and the
  /// masks have one byte for each value, as after the sparsifier's first step.
  ///
  /// @param optimizer may be null; then only weights are changed
  /// Throws c10::ValueError if all data are squashed or, naming the data, if a mask or a momentum
  /// does not fit them; c10::TypeError as momenta_of. Nothing of that name is written then.
  void apply(const torch::optim::Optimizer* optimizer = nullptr) const;

 private:
  const BaseDataSparsifier& sparsifier_;
  std::weak_ptr<void> sparsifier_alive_;
  MomentaOf momenta_of_;
};

}  // namespace winnow
