#include "train.h"

#include <torch/torch.h>

#include <algorithm>
#include <span>

namespace recommender {
namespace {

/// The ratings of each epoch, in an order of its own, in batches.
class Batches {
 public:
  Batches(const MovieLens& data, const Split& split, const TrainOptions& options)
      : data_(data), split_(split), options_(options) {}

  int64_t count() const {
    const auto ratings = static_cast<int64_t>(split_.train.size());
    return (ratings + options_.batch_size - 1) / options_.batch_size;
  }

  Batch get(int64_t epoch, int64_t batch_idx) {
    if (epoch != epoch_) {
      // Seeds next to each other would share the orders of neighbouring epochs.
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

Recommender train(const MovieLens& data, const Split& split, const TrainOptions& options) {
  torch::manual_seed(options.seed);
  Recommender model{TableSizes(data)};
  torch::optim::Adam optimizer(model->parameters(), options.learning_rate);
  Batches batches(data, split, options);
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    for (int64_t i = 0; i < batches.count(); ++i) {
      const at::Tensor loss = loss_of(model, batches.get(epoch, i));
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
  }
  return model;
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

}  // namespace recommender
