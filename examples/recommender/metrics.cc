#include "metrics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace recommender {
namespace {

void check(std::span<const float> scores, std::span<const uint8_t> labels) {
  if (scores.empty() || scores.size() != labels.size()) {
    throw std::invalid_argument("metrics need one label for each score, and at least one");
  }
  if (std::any_of(scores.begin(), scores.end(), [](float score) { return std::isnan(score); })) {
    throw std::invalid_argument("a score is NaN");
  }
}

/// Twice the sum of the likes' ranks, counted from 1; equal scores share the mean of their ranks.
/// Doubled, so that it is an exact integer.
int64_t doubled_rank_sum(std::span<const float> scores, std::span<const uint8_t> labels) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  int64_t sum = 0;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    int64_t likes = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end) {
      likes += labels[order[end]];
    }
    sum += likes * static_cast<int64_t>(begin + 1 + end);
  }
  return sum;
}

}  // namespace

double roc_auc(std::span<const float> scores, std::span<const uint8_t> labels) {
  check(scores, labels);
  const int64_t likes = std::accumulate(labels.begin(), labels.end(), int64_t{0});
  const int64_t others = static_cast<int64_t>(labels.size()) - likes;
  if (likes == 0 || others == 0) {
    throw std::invalid_argument("the AUC needs labels of both kinds");
  }
  const int64_t doubled_wins = doubled_rank_sum(scores, labels) - likes * (likes + 1);
  return static_cast<double>(doubled_wins) /
         (2.0 * static_cast<double>(likes) * static_cast<double>(others));
}

double accuracy(std::span<const float> scores, std::span<const uint8_t> labels) {
  check(scores, labels);
  size_t right = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    right += (scores[i] > 0) == (labels[i] != 0) ? 1 : 0;
  }
  return static_cast<double>(right) / static_cast<double>(scores.size());
}

double log_loss(std::span<const float> scores, std::span<const uint8_t> labels) {
  check(scores, labels);
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double against = labels[i] != 0 ? -double{scores[i]} : double{scores[i]};
    // log(1 + exp(against)), in the form that cannot overflow.
    sum += std::max(against, 0.0) + std::log1p(std::exp(-std::abs(against)));
  }
  return sum / static_cast<double>(scores.size());
}

Metrics metrics_of(std::span<const float> scores, std::span<const uint8_t> labels) {
  return {.auc = roc_auc(scores, labels),
          .accuracy = accuracy(scores, labels),
          .log_loss = log_loss(scores, labels)};
}

}  // namespace recommender
