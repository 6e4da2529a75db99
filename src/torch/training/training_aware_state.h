// PRIVATE. What TrainingAwareDataSparsity saves.
//
//   apply_to_model, interval, frequency   of the options: another configuration is refused
//   sparsifier_class, sparsifier_fields, scheduler_class   likewise
//   batches, holding
//   sparsifier   without apply_to_model: its state as of the last epoch's end, or None; else its
//                masks and configurations, with an empty `_container`: the model has the data
//   scheduler    its state
#pragma once

#include <optional>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow::internal {

/// The sparsifier's state in `state`; nothing where it is None.
std::optional<DataSparsifierState> saved_state(const NamedValues& state);

}  // namespace winnow::internal
