// PRIVATE. Copies of models.
#pragma once

#include <memory>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow::internal {

/// Returns what `copy_model` makes of `model`. Throws c10::ValueError unless it has the same
/// parameters, in memory of its own, with the same ones tied.
std::shared_ptr<torch::nn::Module> checked_copy(const torch::nn::Module& model,
                                                const CopyModel& copy_model);

}  // namespace winnow::internal
