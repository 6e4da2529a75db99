#include "winnow/torch/training/held_masks.h"

#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/index.h>
#include <c10/util/Exception.h>
#include <c10/util/Type.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <utility>

#include "torch/masks/mask_targets.h"

namespace winnow {
using namespace internal;

namespace {

using torch::optim::OptimizerParamState;

/// Returns the momentum in a state; undefined if it has none.
at::Tensor momentum_in(const OptimizerParamState& state) {
  namespace optim = torch::optim;
  // By the class of the state and not of the optimizer, so that derived optimizers are known too.
  if (const auto* adam = dynamic_cast<const optim::AdamParamState*>(&state)) return adam->exp_avg();
  if (const auto* adamw = dynamic_cast<const optim::AdamWParamState*>(&state)) {
    return adamw->exp_avg();
  }
  if (const auto* sgd = dynamic_cast<const optim::SGDParamState*>(&state)) {
    return sgd->momentum_buffer();
  }
  if (const auto* rms = dynamic_cast<const optim::RMSpropParamState*>(&state)) {
    return rms->momentum_buffer();
  }
  if (dynamic_cast<const optim::AdagradParamState*>(&state) != nullptr) return {};
  TORCH_CHECK_TYPE(false, "the momenta of ", c10::demangle(typeid(state).name()),
                   " are not known: pass HeldMasks a function that returns them");
}

/// Applies the mask to a momentum of sparse gradients, entry by entry. It need not be coalesced,
/// because a dropped value is zero in each of its entries.
void apply_mask_to_sparse(const at::Tensor& momentum, const at::Tensor& mask) {
  TORCH_CHECK_VALUE(momentum.sizes() == mask.sizes(), "mask: expected the data's shape ",
                    momentum.sizes(), ", found ", mask.sizes());
  const at::NoGradGuard no_grad;
  c10::List<std::optional<at::Tensor>> index;
  for (const at::Tensor& dimension : momentum._indices().unbind(0)) index.push_back(dimension);
  momentum._values().masked_fill_(at::index(mask, index).eq(0), 0);
}

[[noreturn]] void refuse_squashed() {
  // An error, because holding nothing in silence would let weights grow back.
  C10_THROW_ERROR(ValueError,
                  "all data of the sparsifier are squashed, so it has no mask to hold; squash when "
                  "training has ended, if at all: held weights have their zeros");
}

}  // namespace

std::vector<at::Tensor> momenta_of(const torch::optim::Optimizer& optimizer,
                                   const at::Tensor& parameter) {
  const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
  if (found == optimizer.state().end()) return {};
  const at::Tensor momentum = momentum_in(*found->second);
  if (!momentum.defined()) return {};
  return {momentum};
}

HeldMasks::HeldMasks(const BaseDataSparsifier& sparsifier, MomentaOf momenta_of)
    : sparsifier_(sparsifier),
      sparsifier_alive_(sparsifier.impl_),
      momenta_of_(momenta_of ? std::move(momenta_of) : MomentaOf(winnow::momenta_of)) {
  const std::vector<std::string> names = sparsifier.names();
  const auto is_squashed = [&](const std::string& name) {
    return !sparsifier.is_parametrized(name);
  };
  // A sparsifier without data is fine, because data may still be added.
  if (!names.empty() && std::ranges::all_of(names, is_squashed)) refuse_squashed();
}

void HeldMasks::apply(const torch::optim::Optimizer* optimizer) const {
  TORCH_CHECK(!sparsifier_alive_.expired(),
              "the sparsifier of these HeldMasks was destroyed; its masks went with it");
  bool all_squashed = true;  // no loop of its own, since this runs in every training step
  const std::vector<std::string> names = sparsifier_.names();
  for (const std::string& name : names) {
    if (!sparsifier_.is_parametrized(name)) continue;
    all_squashed = false;
    // The original itself: optimizers know their parameters by the object.
    const at::Tensor weight = sparsifier_.get_data(name);
    // Weight and momenta together, so that the mask is read once.
    std::vector<at::Tensor> tensors{weight}, sparse;
    if (optimizer != nullptr) {
      for (at::Tensor& momentum : momenta_of_(*optimizer, weight)) {
        (momentum.is_sparse() ? sparse : tensors).push_back(std::move(momentum));
      }
    }
    try {
      const at::Tensor mask = sparsifier_.get_mask(name);
      for (const at::Tensor& momentum : sparse) apply_mask_to_sparse(momentum, mask);
      apply_mask_to_all(tensors, mask);
    } catch (const c10::ValueError& error) {
      TORCH_CHECK_VALUE(false, "the mask of '", name,
                        "' cannot be applied: ", error.what_without_backtrace());
    }
  }
  if (all_squashed && !names.empty()) refuse_squashed();
}

}  // namespace winnow
