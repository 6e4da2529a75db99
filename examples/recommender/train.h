// Training and judging the recommender, dense and under masks.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data.h"
#include "metrics.h"
#include "model.h"
#include "winnow/torch/training/callback.h"

namespace recommender {

struct TrainOptions {
  int64_t epochs = 3;
  int64_t batch_size = 512;
  double learning_rate = 0.005;  ///< of Adam
  uint64_t seed = 0;             ///< of the initial values and the order of the ratings
};

/// Optimizer steps of a whole training.
int64_t training_steps(const Split& split, const TrainOptions& options);

/// A new model that has learned from split.train. The same arguments give the same model, bit for
/// bit, on the same machine; torch::manual_seed is called.
Recommender train(const MovieLens& data, const Split& split, const TrainOptions& options,
                  const std::vector<std::shared_ptr<winnow::Callback>>& callbacks = {});

/// Prunes the tables value by value while the model trains, each to `level`: new masks 18 times
/// (after every step of a training that has fewer), at a level that rises with the third power and
/// is reached after two thirds of them.
std::shared_ptr<winnow::Callback> cubic_pruning(double level, int64_t training_steps);

/// How well the model tells likes in split.test. Puts the model into eval mode.
Metrics evaluate(Recommender model, const MovieLens& data, const Split& split);

/// Median seconds of a training step: forward, backward and Adam; the batch is there before.
struct StepSeconds {
  double plain = 0;
  double held = 0;  ///< the same, and then the masks of all tables are held
};

/// Trains one model for 2 * rounds steps, alternately with and without holding masks that drop
/// 90 % of the tables' values. For the benchmarks.
StepSeconds time_training_steps(const MovieLens& data, const Split& split, int64_t rounds);

}  // namespace recommender
