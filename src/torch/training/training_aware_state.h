// PRIVATE. The state of TrainingAwareDataSparsity:
//
//   apply_to_model, interval, frequency   the options; loading requires the same
//   sparsifier_class, sparsifier_fields, scheduler_class   likewise
//   batches, holding
//   sparsifier   without apply_to_model, its state at the end of the last epoch, or None; otherwise
//                its masks and configurations, with an empty `_container`: the model has the data
//   scheduler    its state
#pragma once

#include <optional>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow::internal {

/// Returns the sparsifier's state in `state`, or nullopt if it is None.
std::optional<DataSparsifierState> saved_state(const NamedValues& state);

}  // namespace winnow::internal
