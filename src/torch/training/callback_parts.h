// PRIVATE. Functions that both sparsity callbacks use.
#pragma once

#include <memory>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow::internal {

/// Returns what `make` returns. Throws c10::ValueError if that is null.
std::unique_ptr<BaseDataSparsifier> made_sparsifier(const MakeSparsifier& make);

/// Does the same for a scheduler of `sparsifier`.
std::unique_ptr<BaseDataScheduler> made_scheduler(const MakeScheduler& make,
                                                  BaseDataSparsifier& sparsifier);

/// Logs one line for every parameter of `model` that `sparsifier` has, unless `log` is null.
void log_levels(const torch::nn::Module& model, const BaseDataSparsifier& sparsifier,
                const LogLine& log);

/// What `copy_model` makes of `model`. c10::ValueError unless it has the same parameters, in memory
/// of its own, with the same ones tied.
std::shared_ptr<torch::nn::Module> checked_copy(const torch::nn::Module& model,
                                                const CopyModel& copy_model);

}  // namespace winnow::internal
