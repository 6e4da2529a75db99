// Masks that hold while a model trains: dropped values stay zero from step to step.
//
//   winnow::HeldMasks held(sparsifier);
//   for (...) {
//     loss.backward();
//     optimizer.step();
//     held.apply(&optimizer);
//   }
//
// The model computes with its own weights, which hold zeros where the mask does; nothing is
// multiplied at every forward. Gradients of dropped values are as they are.
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

/// What an optimizer remembers of past gradients of `parameter` and adds to it later: the
/// `momentum_buffer` of SGD and RMSprop, `exp_avg` of Adam and AdamW. Averages of squares
/// (exp_avg_sq, square_avg, sum) only scale a step and are not among them. Empty before the
/// optimizer's first step, and for Adagrad.
///
/// c10::TypeError for another class of optimizer, LBFGS among them: pass a function of your own to
/// HeldMasks.
std::vector<at::Tensor> momenta_of(const torch::optim::Optimizer& optimizer,
                                   const at::Tensor& parameter);

/// Keeps the dropped values of a sparsifier's data zero. Refers to the sparsifier: `apply` after
/// that one was destroyed is a c10::Error. Thread-safety: none.
class HeldMasks {
 public:
  using MomentaOf =
      std::function<std::vector<at::Tensor>(const torch::optim::Optimizer&, const at::Tensor&)>;

  /// @param momenta_of for optimizers that winnow::momenta_of does not know
  /// c10::ValueError where all data are squashed: they have no masks any more. So does apply.
  explicit HeldMasks(const BaseDataSparsifier& sparsifier, MomentaOf momenta_of = nullptr);

  /// Sets every dropped value of the data that are not squashed, and of the optimizer's momenta of
  /// them, to +0, in place and in one pass over each mask; all others keep their bits. For after
  /// optimizer.step(). Weight decay and momentum then find zeros and leave zeros.
  /// Momenta of sparse gradients are masked entry by entry.
  ///
  /// Allocates nothing of a tensor's size where weights and momenta are contiguous on the CPU and
  /// the masks have one byte a value, as they have from the sparsifier's first step on.
  /// @param optimizer may be null: weights only
  /// c10::ValueError, naming the data, where a mask or a momentum does not fit it; c10::TypeError
  /// as momenta_of. Nothing of that name is written then.
  void apply(const torch::optim::Optimizer* optimizer = nullptr) const;

 private:
  const BaseDataSparsifier& sparsifier_;
  std::weak_ptr<void> sparsifier_alive_;
  MomentaOf momenta_of_;
};

}  // namespace winnow
