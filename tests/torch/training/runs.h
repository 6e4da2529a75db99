// A run of training that uses all that a checkpoint has to bring back.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "torch/training/models.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/training/sparsity_callbacks.h"
#include "winnow/torch/training/trainer.h"

namespace winnow::testing {

inline constexpr int64_t kBatches = 4;
inline constexpr int64_t kEpochs = 3;

inline at::Tensor batch_of(int64_t epoch, int64_t batch_idx) {
  return torch::arange(16, at::kFloat).reshape({2, 8}) * 0.01 +
         0.1 * static_cast<double>(epoch * kBatches + batch_idx);
}

/// A run that uses all that a checkpoint has to bring back: momentum, random numbers, masks.
struct TrainingRun {
  explicit TrainingRun(TrainingAwareOptions options, int64_t max_epochs = kEpochs)
      : sparsity(std::make_shared<TrainingAwareDataSparsity>(std::move(options))),
        trainer({.max_epochs = max_epochs, .callbacks = {sparsity}}) {}

  void fit(const std::string& ckpt_path = "") {
    trainer.fit(
        *model, optimizer, kBatches,
        [&](int64_t epoch, int64_t batch_idx) {
          if (before_step) before_step(epoch, batch_idx);
          const at::Tensor noise = 0.1 * torch::randn({2, 8});
          return model->forward(batch_of(epoch, batch_idx) + noise).square().sum();
        },
        ckpt_path);
  }

  Linears model{/*bias=*/true};
  torch::optim::Adam optimizer{model->parameters(),
                               torch::optim::AdamOptions(0.01).weight_decay(0.01)};
  std::shared_ptr<TrainingAwareDataSparsity> sparsity;
  Trainer trainer;
  std::function<void(int64_t, int64_t)> before_step;
};

inline TrainingAwareOptions options_of(bool apply_to_model, StepInterval interval) {
  return {.make_sparsifier =
              [] {
                return std::make_unique<DataNormSparsifier>(DataNormSparsifierOptions{
                    .sparsity_level = 0.75, .sparse_block_shape = {1, 2}});
              },
          .make_scheduler =
              [](BaseDataSparsifier& sparsifier) {
                return std::make_unique<CubicDataScheduler>(
                    sparsifier, CubicDataSchedulerOptions{.end_step = 2});
              },
          .apply_to_model = apply_to_model,
          .interval = interval,
          .frequency = 3};
}

}  // namespace winnow::testing
