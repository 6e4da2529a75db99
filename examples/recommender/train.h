// Trains and judges the recommender, dense and under masks.
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

/// The number of optimizer steps of a whole training.
int64_t training_steps(const Split& split, const TrainOptions& options);

/// A new model, trained on split.train. The same arguments give the same model, bit for bit, on the
/// same machine. Calls torch::manual_seed.
Recommender train(const MovieLens& data, const Split& split, const TrainOptions& options,
                  const std::vector<std::shared_ptr<winnow::Callback>>& callbacks = {});

/// Prunes the tables value by value while the model trains, each to `level`. Computes new masks 18
/// times (or after every step, if there are fewer steps). The level rises along a cubic curve and
/// is reached after two thirds of them.
std::shared_ptr<winnow::Callback> cubic_pruning(double level, int64_t training_steps);

/// How well the model recognises likes in split.test. Puts the model into eval mode.
Metrics evaluate(Recommender model, const MovieLens& data, const Split& split);

/// Median seconds of a training step: forward, backward and Adam, without making the batch.
struct StepSeconds {
  double plain = 0;
  double held = 0;  ///< including holding the masks of all tables
};

/// For the benchmarks: trains one model for 2 * rounds steps, alternately with and without holding
/// masks that drop 90 % of the tables' values.
StepSeconds time_training_steps(const MovieLens& data, const Split& split, int64_t rounds);

}  // namespace recommender
