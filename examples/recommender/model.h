// A recommender like DLRM: a table for each categorical feature, a bag of genres, and a perceptron
// on top of the looked-up rows.
//
// Its modules are winnow::nn modules as typed members, so they can be masked and quantized in
// place. Thread-safety: that of torch::nn modules.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <span>

#include "data.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/nn/linear.h"

namespace recommender {

/// Ratings in the form that the model takes.
struct Batch {
  at::Tensor codes;          ///< int64 [features, ratings]
  at::Tensor genres;         ///< int64, flat: the genres of each rating's item, one after another
  at::Tensor genre_offsets;  ///< int64 [ratings], where each begins in `genres`
  at::Tensor liked;          ///< float [ratings], 0 or 1
};

/// @param ratings  indices into `data`; at least one
Batch make_batch(const MovieLens& data, std::span<const int64_t> ratings);

/// How many rows each table has.
struct TableSizes {
  explicit TableSizes(const MovieLens& data);

  std::array<int64_t, kFeatureNames.size()> features = {};
  int64_t genres = 0;
};

inline constexpr int64_t kEmbeddingDim = 32;

/// The eight tables. Only their parameters are pruned: `embeddings.*.weight` in the model.
class EmbeddingsImpl : public torch::nn::Cloneable<EmbeddingsImpl> {
 public:
  explicit EmbeddingsImpl(const TableSizes& sizes);
  void reset() override;

  /// @return [ratings, 8 * kEmbeddingDim]
  at::Tensor forward(const Batch& batch);

  winnow::nn::Embedding user{nullptr}, item{nullptr}, age{nullptr}, gender{nullptr},
      occupation{nullptr}, zip{nullptr}, release_year{nullptr};
  winnow::nn::EmbeddingBag genres{nullptr};  ///< their mean

 private:
  /// In the order of Feature.
  std::array<winnow::nn::Embedding*, kFeatureNames.size()> tables();

  TableSizes sizes_;
};
TORCH_MODULE(Embeddings);

class RecommenderImpl : public torch::nn::Cloneable<RecommenderImpl> {
 public:
  explicit RecommenderImpl(const TableSizes& sizes);
  void reset() override;

  /// Log-odds of a like: [ratings].
  at::Tensor forward(const Batch& batch);

  Embeddings embeddings{nullptr};
  winnow::nn::Linear hidden1{nullptr}, hidden2{nullptr}, output{nullptr};

 private:
  TableSizes sizes_;
};
TORCH_MODULE(Recommender);

}  // namespace recommender
