// PRIVATE. A run of Trainer in a file.
//
//   format     "winnow checkpoint 2"; 1 held LibTorch's own archive of every optimizer
//   progress   epoch, next_batch, batches, global_step
//   model      the module's parameters and buffers, by name
//   optimizer  as optimizer_state.h says
//   rng_state  of the default generator of the CPU
//   callbacks  a list: class and state of each
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "winnow/torch/training/trainer.h"

namespace winnow::internal {

/// Memory: what the callbacks' states take, and an archive of LibTorch where the optimizer needs
/// one.
void save_checkpoint(const std::string& path, const torch::nn::Module& model,
                     const torch::optim::Optimizer& optimizer,
                     const std::vector<std::shared_ptr<Callback>>& callbacks,
                     const TrainingProgress& progress);

struct Checkpoint {
  TrainingProgress progress;
  at::Tensor rng_state;  ///< for set_random_state, once nothing draws numbers but the training
};

/// Puts everything back but for the random generator. Everything is checked before anything is
/// changed; see Trainer::fit for the errors. The model's values are read into its own memory, after
/// their checksums were verified in a first pass, where it is contiguous on the CPU; elsewhere a
/// tensor is read by itself and copied. The optimizer's state is what the file brings.
Checkpoint load_checkpoint(const std::string& path, torch::nn::Module& model,
                           torch::optim::Optimizer& optimizer,
                           const std::vector<std::shared_ptr<Callback>>& callbacks,
                           int64_t batches);

}  // namespace winnow::internal
