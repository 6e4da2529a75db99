// PRIVATE. An optimizer as plain values, for checkpoints.
//
// For SGD, Adam, AdamW, RMSprop and Adagrad:
//   class       its class
//   parameters  the shapes of each group's parameters
//   options     for each group, its options by name
//   state       for each distinct tensor, in the order of the groups, its state by name, or None
//
// For other classes, `archive` replaces the last two: the bytes of LibTorch's own archive. LibTorch
// cannot load such an archive if the groups contain a parameter twice, as they do for a tied weight
// from parameters(), so such optimizers are refused.
#pragma once

#include <ATen/core/ivalue.h>

#include <functional>
#include <string>

#include "winnow/torch/named_values.h"

namespace torch::optim {
class Optimizer;
}

namespace winnow::internal {

/// Returns the values, which share the optimizer's tensors; an archive is a copy. Throws
/// c10::ValueError if an optimizer that needs an archive contains a parameter twice.
NamedValues optimizer_values(const torch::optim::Optimizer& optimizer);

/// Checks that `values` fit the optimizer, and returns a function that restores it. That function
/// can fail only for archives, and then leaves the optimizer unchanged. The tensors of `values`
/// become the optimizer's. Throws c10::Error, naming what is missing, of the wrong kind or does not
/// fit.
std::function<void()> optimizer_restorer(torch::optim::Optimizer& optimizer,
                                         const NamedValues& values);

/// Returns the number, counted from 0 over all groups, of the first parameter that occurs for the
/// second time, or -1 if there is none.
int64_t repeated_parameter(const torch::optim::Optimizer& optimizer);

}  // namespace winnow::internal
