// PRIVATE. Copies of models that are good to sparsify.
#pragma once

#include <memory>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow {

/// What `copy_model` makes of `model`. c10::ValueError unless it has the same parameters, in memory
/// of its own, with the same ones tied.
std::shared_ptr<torch::nn::Module> checked_copy(const torch::nn::Module& model,
                                                const CopyModel& copy_model);

}  // namespace winnow
