// PRIVATE. What both sparsity callbacks do.
#pragma once

#include <memory>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow::internal {

/// What `make` returns; c10::ValueError where that is null.
std::unique_ptr<BaseDataSparsifier> made_sparsifier(const MakeSparsifier& make);

/// The same for a scheduler of `sparsifier`.
std::unique_ptr<BaseDataScheduler> made_scheduler(const MakeScheduler& make,
                                                  BaseDataSparsifier& sparsifier);

/// One line for every parameter of `model` that `sparsifier` has; nothing where `log` is null.
void log_levels(const torch::nn::Module& model, const BaseDataSparsifier& sparsifier,
                const LogLine& log);

/// What `copy_model` makes of `model`. c10::ValueError unless it has the same parameters, in memory
/// of its own, with the same ones tied.
std::shared_ptr<torch::nn::Module> checked_copy(const torch::nn::Module& model,
                                                const CopyModel& copy_model);

}  // namespace winnow::internal
