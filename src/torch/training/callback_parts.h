// PRIVATE. What both sparsity callbacks do.
#pragma once

#include <memory>

#include "winnow/torch/training/sparsity_callbacks.h"

namespace winnow {

/// What `make` returns; c10::ValueError where that is null.
std::unique_ptr<BaseDataSparsifier> made_sparsifier(const MakeSparsifier& make);

/// The same for a scheduler of `sparsifier`.
std::unique_ptr<BaseDataScheduler> made_scheduler(const MakeScheduler& make,
                                                  BaseDataSparsifier& sparsifier);

/// One line for every parameter of `model` that `sparsifier` has; nothing where `log` is null.
void log_levels(const torch::nn::Module& model, const BaseDataSparsifier& sparsifier,
                const LogLine& log);

}  // namespace winnow
