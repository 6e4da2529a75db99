// Training and judging the recommender, dense and under masks.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data.h"
#include "metrics.h"
#include "model.h"

namespace recommender {

struct TrainOptions {
  int64_t epochs = 3;
  int64_t batch_size = 512;
  double learning_rate = 0.005;  ///< of Adam
  uint64_t seed = 0;             ///< of the initial values and the order of the ratings
};

/// A new model that has learned from split.train. The same options give the same model, bit for
/// bit, on the same machine; torch::manual_seed is called.
Recommender train(const MovieLens& data, const Split& split, const TrainOptions& options);

/// How well the model tells likes in split.test. Puts the model into eval mode.
Metrics evaluate(Recommender model, const MovieLens& data, const Split& split);

}  // namespace recommender
