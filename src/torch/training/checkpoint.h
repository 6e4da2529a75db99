// PRIVATE. Checkpoints of Trainer. The values of such a file:
//
//   format     "winnow checkpoint 2"; 1 held LibTorch's own archive of every optimizer
//   progress   epoch, next_batch, batches, global_step
//   model      the module's parameters and buffers, by name
//   optimizer  see optimizer_state.h
//   rng_state  of the CPU's default generator
//   callbacks  a list: class and state of each
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "winnow/torch/training/trainer.h"

namespace winnow::internal {

/// Writes a checkpoint. Memory: the callbacks' states, and LibTorch's archive if the optimizer
/// needs one.
void save_checkpoint(const std::string& path, const torch::nn::Module& model,
                     const torch::optim::Optimizer& optimizer,
                     const std::vector<std::shared_ptr<Callback>>& callbacks,
                     const TrainingProgress& progress);

/// The parts of a checkpoint that load_checkpoint does not restore itself.
struct Checkpoint {
  TrainingProgress progress;
  at::Tensor rng_state;  ///< for set_random_state, when only the training draws random numbers
};

/// Restores everything except the random generator. Everything is checked before anything is
/// changed; see Trainer::fit for the errors. A first pass verifies the checksums. Then the values
/// are read directly into the model's tensors, or through a copy if a tensor is not contiguous on
/// the CPU. The optimizer takes over the loaded tensors.
Checkpoint load_checkpoint(const std::string& path, torch::nn::Module& model,
                           torch::optim::Optimizer& optimizer,
                           const std::vector<std::shared_ptr<Callback>>& callbacks,
                           int64_t batches);

}  // namespace winnow::internal
