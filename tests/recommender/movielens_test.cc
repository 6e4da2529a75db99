// One seed of ./dev demo-train on the real data, which ./dev test fetches.
//
// The bounds: over three seeds no AUC was further from its mean in docs/recommender.md than 0.005,
// for what is tested here. Another processor rounds otherwise, which is like another seed, so each
// AUC has three times that. During training beat after training by 0.026 to 0.030 at 90 %, seed by
// seed; half of the least is asked for.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "data.h"
#include "prune.h"
#include "train.h"

namespace recommender {
namespace {

constexpr double kTolerance = 3 * 0.005;

class MovieLensRun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(WINNOW_MOVIELENS "/ml-100k.inter")) {
      GTEST_SKIP() << WINNOW_MOVIELENS " is not there: ./dev demo-train fetches it";
    }
    at::set_num_threads(1);
  }
};

TEST_F(MovieLensRun, GivesTheDocumentedAucs) {
  const MovieLens data = read_movielens(WINNOW_MOVIELENS);
  const Split split = split_ratings(data.ratings(), 0);
  const TrainOptions options;
  const int64_t steps = training_steps(split, options);

  const Recommender dense = train(data, split, options);
  EXPECT_NEAR(evaluate(dense, data, split).auc, 0.780, kTolerance);
  const Recommender after =
      pruned_copy(dense, {.sparsity_level = 0.9, .sparse_block_shape = {1, 1}});
  const double after_auc = evaluate(after, data, split).auc;
  EXPECT_NEAR(after_auc, 0.748, kTolerance);
  EXPECT_NEAR(evaluate(quantized_copy(dense, 0.9, {}), data, split).auc, after_auc, 0.001);

  const Recommender during = train(data, split, options, {cubic_pruning(0.9, steps)});
  const double during_auc = evaluate(during, data, split).auc;
  EXPECT_NEAR(during_auc, 0.776, kTolerance);
  EXPECT_GT(during_auc, after_auc + 0.013);
  EXPECT_NEAR(share_of_zeros(during), 0.9, 0.0001);
}

TEST_F(MovieLensRun, HasTablesOfTheDocumentedSize) {
  const Recommender model{TableSizes(read_movielens(WINNOW_MOVIELENS))};
  EXPECT_EQ(table_bytes(model), 4 * 101'856);
}

}  // namespace
}  // namespace recommender
