#include "metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

namespace recommender {
namespace {

using Scores = std::vector<float>;
using Labels = std::vector<uint8_t>;

/// The definition: every pair of a like and another rating, one by one.
double auc_by_pairs(const Scores& scores, const Labels& labels) {
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (labels[i] == 1 && labels[j] == 0) {
        pairs += 1;
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
      }
    }
  }
  return wins / pairs;
}

TEST(RocAuc, IsOneWhereEveryLikeIsAboveEveryOther) {
  EXPECT_EQ(roc_auc(Scores{-1, 0, 2, 3}, Labels{0, 0, 1, 1}), 1);
  EXPECT_EQ(roc_auc(Scores{-1, 0, 2, 3}, Labels{1, 1, 0, 0}), 0);
}

TEST(RocAuc, CountsTiesOneHalf) {
  EXPECT_EQ(roc_auc(Scores{1, 1, 1}, Labels{0, 1, 1}), 0.5);
  EXPECT_EQ(roc_auc(Scores{0, 1, 1, 2}, Labels{0, 0, 1, 1}), 0.875);
}

TEST(RocAuc, EqualsTheCountOfPairs) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    Scores scores(2 + random() % 60);
    Labels labels(scores.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = static_cast<float>(random() % 10);  // few values, hence many ties
      labels[i] = static_cast<uint8_t>(random() % 2);
    }
    labels[0] = 0;
    labels[1] = 1;
    EXPECT_DOUBLE_EQ(roc_auc(scores, labels), auc_by_pairs(scores, labels));
  }
}

TEST(RocAuc, NeedsLabelsOfBothKinds) {
  EXPECT_THROW(roc_auc(Scores{1, 2}, Labels{1, 1}), std::invalid_argument);
  EXPECT_THROW(roc_auc(Scores{1, 2}, Labels{0, 0}), std::invalid_argument);
}

TEST(Accuracy, TakesScoresAboveZeroAsLikes) {
  EXPECT_EQ(accuracy(Scores{-1, 0, 1, 2}, Labels{0, 0, 1, 0}), 0.75);
}

TEST(LogLoss, IsTheMeanNegativeLogLikelihood) {
  EXPECT_DOUBLE_EQ(log_loss(Scores{0, 0}, Labels{0, 1}), std::log(2));
  const double likelihood = 1 / (1 + std::exp(-2.0));
  EXPECT_DOUBLE_EQ(log_loss(Scores{2, -2, 2}, Labels{1, 0, 0}),
                   -(2 * std::log(likelihood) + std::log(1 - likelihood)) / 3);
}

TEST(LogLoss, DoesNotOverflow) {
  EXPECT_EQ(log_loss(Scores{1e30F}, Labels{1}), 0);
  EXPECT_EQ(log_loss(Scores{-1e4F}, Labels{1}), 1e4);
}

TEST(Metrics, RefuseWhatHasNoMeaning) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(metrics_of(Scores{}, Labels{}), std::invalid_argument);
  EXPECT_THROW(metrics_of(Scores{1, 2}, Labels{1}), std::invalid_argument);
  EXPECT_THROW(roc_auc(Scores{1, nan}, Labels{0, 1}), std::invalid_argument);
  EXPECT_THROW(accuracy(Scores{nan}, Labels{0}), std::invalid_argument);
  EXPECT_THROW(log_loss(Scores{nan}, Labels{0}), std::invalid_argument);
}

TEST(Metrics, AreTheThreeTogether) {
  const Scores scores{-1, 0.5F, 1, 2};
  const Labels labels{0, 1, 0, 1};
  const Metrics metrics = metrics_of(scores, labels);
  EXPECT_EQ(metrics.auc, roc_auc(scores, labels));
  EXPECT_EQ(metrics.accuracy, accuracy(scores, labels));
  EXPECT_EQ(metrics.log_loss, log_loss(scores, labels));
}

}  // namespace
}  // namespace recommender
