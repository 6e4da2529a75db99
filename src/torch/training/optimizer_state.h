// PRIVATE. What an optimizer knows, as plain values that a checkpoint holds.
//
// Of SGD, Adam, AdamW, RMSprop and Adagrad:
//   class       its class
//   parameters  the shapes of each group's parameters
//   options     of each group: its options by name
//   state       of each distinct tensor, in the order of the groups: its state by name, or None
//
// Of other classes `archive` stands in the place of the last two: the bytes of LibTorch's own
// archive. LibTorch cannot read such an archive back where a parameter stands in the groups twice,
// as a tied weight does that came from parameters(): those are refused.
#pragma once

#include <ATen/core/ivalue.h>

#include <functional>
#include <string>

#include "winnow/torch/named_values.h"

namespace torch::optim {
class Optimizer;
}

namespace winnow::internal {

/// Refers to the optimizer's tensors; an archive is a copy.
/// c10::ValueError where a parameter stands twice in an optimizer that needs an archive.
NamedValues optimizer_values(const torch::optim::Optimizer& optimizer);

/// Checks that the optimizer can take over `values`, and returns what does it: that fails for
/// archives alone, and leaves the optimizer as it was then. The tensors of `values` become the
/// optimizer's. c10::Error saying what does not fit; what is missing, or of the wrong kind, is
/// named.
std::function<void()> optimizer_restorer(torch::optim::Optimizer& optimizer,
                                         const NamedValues& values);

/// Where in the optimizer's groups a tensor stands a second time: its number, from 0; -1 where each
/// is there once.
int64_t repeated_parameter(const torch::optim::Optimizer& optimizer);

}  // namespace winnow::internal
