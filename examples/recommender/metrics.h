// Measures of how well scores separate likes from other ratings.
//
// Scores are logits: the model's log-odds of a like. Labels are 1 for a like and 0 otherwise, one
// for each score. All functions throw std::invalid_argument if the sizes differ or are 0, or if a
// score is NaN. Thread-safety: they are pure.
#pragma once

#include <cstdint>
#include <span>

namespace recommender {

/// The probability that a like has a higher score than another rating, with ties counting one half:
/// the exact area under the ROC curve, computed from ranks. O(n log n).
/// std::invalid_argument also if all labels are the same.
double roc_auc(std::span<const float> scores, std::span<const uint8_t> labels);

/// Share of the scores that are right: above 0 for a like, at most 0 otherwise.
double accuracy(std::span<const float> scores, std::span<const uint8_t> labels);

/// Mean negative log-likelihood, in nats; the loss that training minimises.
double log_loss(std::span<const float> scores, std::span<const uint8_t> labels);

struct Metrics {
  double auc = 0;
  double accuracy = 0;
  double log_loss = 0;
};

/// All three.
Metrics metrics_of(std::span<const float> scores, std::span<const uint8_t> labels);

}  // namespace recommender
