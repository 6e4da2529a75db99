#include "model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "data.h"
#include "prune.h"
#include "tiny_movielens.h"
#include "train.h"

namespace recommender {
namespace {

/// 20 users who rate 20 items each.
class ModelTest : public ::testing::Test {
 protected:
  ModelTest() : data_(make_data()), split_(split_ratings(data_.ratings(), 0)) {}

  static MovieLens make_data() {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("winnow-model-" + std::to_string(::getpid()));
    write_tiny_movielens(folder, 20, 20);
    MovieLens data = read_movielens(folder.string());
    std::filesystem::remove_all(folder);
    return data;
  }

  Recommender trained(uint64_t seed) const {
    return train(data_, split_, {.epochs = 2, .batch_size = 32, .seed = seed});
  }

  const MovieLens data_;
  const Split split_;
};

void expect_same(const Recommender& a, const Recommender& b) {
  for (const auto& parameter : a->named_parameters()) {
    EXPECT_TRUE(torch::equal(parameter.value(), b->named_parameters()[parameter.key()]))
        << parameter.key();
  }
}

TEST_F(ModelTest, BatchesHoldCodesGenresAndLabels) {
  const std::vector<int64_t> ratings{0, 1, 21};  // user 0 on items 0 and 1, user 1 on item 1
  const Batch batch = make_batch(data_, ratings);
  EXPECT_TRUE(torch::equal(batch.codes[kUser], torch::tensor({0, 0, 1}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.codes[kItem], torch::tensor({0, 1, 1}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.genres, torch::tensor({0, 0, 1, 0, 1}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.genre_offsets, torch::tensor({0, 1, 3}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.liked, torch::tensor({1.F, 0.F, 1.F})));
}

TEST_F(ModelTest, TablesHaveARowForEachValue) {
  const Recommender model{TableSizes(data_)};
  const auto parameters = model->embeddings->named_parameters();
  EXPECT_EQ(parameters.size(), 8u);
  EXPECT_EQ(parameters["user.weight"].sizes(), torch::IntArrayRef({20, kEmbeddingDim}));
  EXPECT_EQ(parameters["age.weight"].size(0), 5);
  EXPECT_EQ(parameters["genres.weight"].size(0), 2);
}

TEST_F(ModelTest, GivesOneScoreARating) {
  Recommender model{TableSizes(data_)};
  EXPECT_EQ(model(make_batch(data_, split_.test)).sizes(), torch::IntArrayRef({80}));
}

TEST_F(ModelTest, LearnsWhatIsThereToLearn) {
  // Stars follow from the numbers of user and item being both even or odd.
  const Recommender model = train(data_, split_, {.epochs = 10, .batch_size = 16});
  EXPECT_GT(evaluate(model, data_, split_).auc, 0.99);
}

TEST_F(ModelTest, TrainsTheSameModelForTheSameSeed) {
  const Recommender first = trained(1);
  expect_same(first, trained(1));
  EXPECT_FALSE(torch::equal(first->output->weight, trained(2)->output->weight));
}

TEST_F(ModelTest, CopiesShareNothing) {
  const Recommender model = trained(0);
  const Recommender copy = copy_of(model);
  expect_same(model, copy);
  copy->embeddings->user->weight.data().zero_();
  EXPECT_FALSE(model->embeddings->user->weight.eq(0).all().item<bool>());
}

TEST_F(ModelTest, PruningDropsTheShareThatWasAskedFor) {
  const Recommender model = trained(0);
  const Recommender pruned =
      pruned_copy(model, {.sparsity_level = 0.75, .sparse_block_shape = {1, 1}});
  EXPECT_EQ(share_of_zeros(pruned), 0.75);
  EXPECT_EQ(share_of_zeros(model), 0);
  const at::Tensor& weight = pruned->embeddings->user->weight;
  EXPECT_TRUE(torch::equal(weight, model->embeddings->user->weight * weight.ne(0)));
  EXPECT_FALSE(at::signbit(weight.masked_select(weight.eq(0))).any().item<bool>());
}

TEST_F(ModelTest, PruningDuringTrainingEndsAtTheLevel) {
  // 2 epochs of 10 batches, and 1 epoch of 1: mask steps come after every batch.
  for (const TrainOptions& options :
       {TrainOptions{.epochs = 2, .batch_size = 32}, TrainOptions{.epochs = 1}}) {
    const auto pruning = cubic_pruning(0.75, training_steps(split_, options));
    const Recommender model = train(data_, split_, options, {pruning});
    EXPECT_EQ(share_of_zeros(model), 0.75);
  }
}

TEST_F(ModelTest, QuantizedTablesTakeAByteAValue) {
  const Recommender dense = trained(0);
  const Recommender quantized = quantized_copy(dense, 0, {});
  const int64_t rows = table_bytes(dense) / (4 * kEmbeddingDim);
  EXPECT_EQ(table_bytes(quantized), rows * (kEmbeddingDim + 8));
  EXPECT_NEAR(evaluate(quantized, data_, split_).auc, evaluate(dense, data_, split_).auc, 0.01);
}

TEST_F(ModelTest, QuantizedTablesKeepTheZerosUnderTheExactPolicy) {
  const Recommender dense = trained(0);
  for (const bool sparsify_first : {true, false}) {
    const Recommender model = quantized_copy(dense, 0.75, {.sparsify_first = sparsify_first});
    EXPECT_GE(share_of_zeros(model), 0.75);
    EXPECT_LT(share_of_zeros(model), 0.85);
  }
  const Recommender upstream = quantized_copy(
      dense, 0.75, {.sparsify_first = false, .zero_policy = winnow::nn::ZeroPolicy::kUpstream});
  EXPECT_LT(share_of_zeros(upstream), 0.1);
}

TEST_F(ModelTest, TrainingStepsAreTimedWithAndWithoutMasks) {
  const StepSeconds seconds = time_training_steps(data_, split_, 3);
  EXPECT_GT(seconds.plain, 0);
  EXPECT_GT(seconds.held, 0);
}

TEST_F(ModelTest, CountsTheBytesOfItsTables) {
  const Recommender model{TableSizes(data_)};
  // users, items, ages, genders, occupations, zip areas, years, genres
  EXPECT_EQ(table_bytes(model), (20 + 20 + 5 + 2 + 1 + 1 + 3 + 2) * kEmbeddingDim * 4);
}

}  // namespace
}  // namespace recommender
