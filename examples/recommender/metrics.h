// How well scores tell likes from the rest.
//
// Scores are logits: the model's log-odds of a like. Labels are 1 for a like and 0 otherwise, one
// for each score. All functions throw std::invalid_argument for different sizes, none at all and a
// score that is NaN. Thread-safety: they are pure.
#pragma once

#include <cstdint>
#include <span>

namespace recommender {

/// The probability that a like has a higher score than another rating, where ties count one half:
/// the area under the ROC curve, exactly, by ranks. O(n log n).
/// std::invalid_argument also where all labels are the same.
double roc_auc(std::span<const float> scores, std::span<const uint8_t> labels);

/// Share of the scores above 0 that are likes and of those up to 0 that are not, taken together.
double accuracy(std::span<const float> scores, std::span<const uint8_t> labels);

/// Mean negative log-likelihood, in nats: the loss that the model is trained with.
double log_loss(std::span<const float> scores, std::span<const uint8_t> labels);

struct Metrics {
  double auc = 0;
  double accuracy = 0;
  double log_loss = 0;
};

/// All three.
Metrics metrics_of(std::span<const float> scores, std::span<const uint8_t> labels);

}  // namespace recommender
