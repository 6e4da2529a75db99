#include "model.h"

#include <torch/torch.h>

#include <vector>

namespace recommender {
namespace {

constexpr int64_t kHidden1 = 64, kHidden2 = 32;

// LibTorch's deviation of 1 takes more than three epochs to unlearn: AUC 0.76 instead of 0.78.
constexpr double kInitialDeviation = 0.1;

at::Tensor to_tensor(const std::vector<int64_t>& values) {
  return torch::tensor(values, torch::kLong);
}

}  // namespace

Batch make_batch(const MovieLens& data, std::span<const int64_t> ratings) {
  std::vector<int64_t> codes, genres, offsets;
  for (const FeatureColumn& feature : data.features) {
    for (const int64_t rating : ratings) {
      codes.push_back(feature.codes[static_cast<size_t>(rating)]);
    }
  }
  std::vector<float> liked;
  for (const int64_t rating : ratings) {
    const int64_t item = data.features[kItem].codes[static_cast<size_t>(rating)];
    const std::vector<int64_t>& of_item = data.item_genres[static_cast<size_t>(item)];
    offsets.push_back(static_cast<int64_t>(genres.size()));
    genres.insert(genres.end(), of_item.begin(), of_item.end());
    liked.push_back(data.liked[static_cast<size_t>(rating)]);
  }
  const auto columns = static_cast<int64_t>(ratings.size());
  return {.codes = to_tensor(codes).view({-1, columns}),
          .genres = to_tensor(genres),
          .genre_offsets = to_tensor(offsets),
          .liked = torch::tensor(liked)};
}

TableSizes::TableSizes(const MovieLens& data) : genres(static_cast<int64_t>(data.genres.size())) {
  for (size_t i = 0; i < features.size(); ++i) {
    features[i] = static_cast<int64_t>(data.features[i].values.size());
  }
}

EmbeddingsImpl::EmbeddingsImpl(const TableSizes& sizes) : sizes_(sizes) { reset(); }

void EmbeddingsImpl::reset() {
  for (size_t i = 0; i < kFeatureNames.size(); ++i) {
    *tables()[i] =
        register_module(kFeatureNames[i], winnow::nn::Embedding(sizes_.features[i], kEmbeddingDim));
  }
  genres = register_module("genres", winnow::nn::EmbeddingBag(sizes_.genres, kEmbeddingDim));
  for (const at::Tensor& weight : parameters()) {
    torch::nn::init::normal_(weight, 0, kInitialDeviation);
  }
}

std::array<winnow::nn::Embedding*, kFeatureNames.size()> EmbeddingsImpl::tables() {
  return {&user, &item, &age, &gender, &occupation, &zip, &release_year};
}

at::Tensor EmbeddingsImpl::forward(const Batch& batch) {
  std::vector<at::Tensor> looked_up;
  for (size_t i = 0; i < kFeatureNames.size(); ++i) {
    looked_up.push_back((*tables()[i])(batch.codes[static_cast<int64_t>(i)]));
  }
  looked_up.push_back(genres(batch.genres, batch.genre_offsets));
  return torch::cat(looked_up, 1);
}

RecommenderImpl::RecommenderImpl(const TableSizes& sizes) : sizes_(sizes) { reset(); }

void RecommenderImpl::reset() {
  constexpr int64_t kTables = kFeatureNames.size() + 1;
  embeddings = register_module("embeddings", Embeddings(sizes_));
  hidden1 = register_module("hidden1", winnow::nn::Linear(kTables * kEmbeddingDim, kHidden1));
  hidden2 = register_module("hidden2", winnow::nn::Linear(kHidden1, kHidden2));
  output = register_module("output", winnow::nn::Linear(kHidden2, 1));
}

at::Tensor RecommenderImpl::forward(const Batch& batch) {
  return output(hidden2(hidden1(embeddings(batch)).relu()).relu()).squeeze(1);
}

}  // namespace recommender
