#include "train.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "prune.h"
#include "results.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/training/held_masks.h"
#include "winnow/torch/training/sparsity_callbacks.h"
#include "winnow/torch/training/trainer.h"

namespace recommender {
namespace {

/// Batches of one epoch.
int64_t batches_of(const Split& split, const TrainOptions& options) {
  const auto ratings = static_cast<int64_t>(split.train.size());
  return (ratings + options.batch_size - 1) / options.batch_size;
}

/// The ratings of each epoch in batches; each epoch has its own order.
class Batches {
 public:
  Batches(const MovieLens& data, const Split& split, const TrainOptions& options)
      : data_(data), split_(split), options_(options) {}

  Batch get(int64_t epoch, int64_t batch_idx) {
    if (epoch != epoch_) {
      // Without this, seed s + 1 would repeat the orders of seed s one epoch earlier.
      constexpr uint64_t kEpochsApart = 1'000'003;
      order_ =
          shuffled(split_.train, options_.seed * kEpochsApart + static_cast<uint64_t>(epoch + 1));
      epoch_ = epoch;
    }
    const auto begin = static_cast<size_t>(batch_idx * options_.batch_size);
    const size_t size = std::min(static_cast<size_t>(options_.batch_size), order_.size() - begin);
    return make_batch(data_, std::span(order_).subspan(begin, size));
  }

 private:
  const MovieLens& data_;
  const Split& split_;
  const TrainOptions& options_;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
};

at::Tensor loss_of(Recommender& model, const Batch& batch) {
  return torch::binary_cross_entropy_with_logits(model(batch), batch.liked);
}

}  // namespace

int64_t training_steps(const Split& split, const TrainOptions& options) {
  return options.epochs * batches_of(split, options);
}

Recommender train(const MovieLens& data, const Split& split, const TrainOptions& options,
                  const std::vector<std::shared_ptr<winnow::Callback>>& callbacks) {
  torch::manual_seed(options.seed);
  Recommender model{TableSizes(data)};
  torch::optim::Adam optimizer(model->parameters(), options.learning_rate);
  Batches batches(data, split, options);
  winnow::Trainer trainer({.max_epochs = options.epochs, .callbacks = callbacks});
  trainer.fit(*model, optimizer, batches_of(split, options), [&](int64_t epoch, int64_t batch_idx) {
    return loss_of(model, batches.get(epoch, batch_idx));
  });
  return model;
}

std::shared_ptr<winnow::Callback> cubic_pruning(double level, int64_t training_steps) {
  constexpr int64_t kMaskSteps = 18;
  const int64_t frequency = std::max<int64_t>(training_steps / kMaskSteps, 1);
  const int64_t end_step = training_steps / frequency * 2 / 3;
  return std::make_shared<winnow::TrainingAwareDataSparsity>(winnow::TrainingAwareOptions{
      .make_sparsifier =
          [level] {
            return std::make_unique<winnow::DataNormSparsifier>(winnow::DataNormSparsifierOptions{
                .sparsity_level = level, .sparse_block_shape = {1, 1}});
          },
      .make_scheduler =
          [end_step](winnow::BaseDataSparsifier& sparsifier) {
            return std::make_unique<winnow::CubicDataScheduler>(
                sparsifier, winnow::CubicDataSchedulerOptions{.end_step = end_step});
          },
      .attach = tables_only(),
      .apply_to_model = true,
      .interval = winnow::StepInterval::kStep,
      .frequency = frequency});
}

Metrics evaluate(Recommender model, const MovieLens& data, const Split& split) {
  const torch::NoGradGuard no_grad;
  model->eval();
  const at::Tensor scores = model(make_batch(data, split.test)).contiguous();
  std::vector<uint8_t> labels;
  for (const int64_t rating : split.test) {
    labels.push_back(data.liked[static_cast<size_t>(rating)]);
  }
  return metrics_of({scores.const_data_ptr<float>(), labels.size()}, labels);
}

StepSeconds time_training_steps(const MovieLens& data, const Split& split, int64_t rounds) {
  const TrainOptions options;
  torch::manual_seed(options.seed);
  Recommender model{TableSizes(data)};
  torch::optim::Adam optimizer(model->parameters(), options.learning_rate);
  Batches batches(data, split, options);
  winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.9, .sparse_block_shape = {1, 1}});
  winnow::attach_model(*model, sparsifier, tables_only());
  sparsifier.step();
  const winnow::HeldMasks masks(sparsifier);

  std::vector<double> plain, held;
  for (int64_t i = 0; i < 2 * rounds; ++i) {
    const Batch batch = batches.get(0, i % batches_of(split, options));
    const bool hold = i % 2 != 0;
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor loss = loss_of(model, batch);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (hold) {
      masks.apply(&optimizer);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    (hold ? held : plain).push_back(seconds.count());
  }
  return {.plain = median(std::move(plain)), .held = median(std::move(held))};
}

}  // namespace recommender
