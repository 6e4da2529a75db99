#include "prune.h"

#include <torch/torch.h>

#include <memory>
#include <string>

#include "winnow/torch/tensor_mask.h"

namespace recommender {

void add_tables(const Recommender& model, winnow::BaseDataSparsifier& sparsifier) {
  for (const auto& child : model->embeddings->named_children()) {
    sparsifier.add_data("embeddings_" + child.key() + "_weight", child.value());
  }
}

Recommender copy_of(const Recommender& model) {
  return Recommender(std::dynamic_pointer_cast<RecommenderImpl>(model->clone()));
}

void squash_to_zero(winnow::BaseDataSparsifier& sparsifier) {
  sparsifier.squash_mask();
  for (const std::string& name : sparsifier.names()) {
    winnow::apply_mask_(sparsifier.get_data(name, false), sparsifier.get_mask(name));
  }
}

Recommender pruned_copy(const Recommender& model,
                        const winnow::DataNormSparsifierOptions& options) {
  Recommender copy = copy_of(model);
  winnow::DataNormSparsifier sparsifier(options);
  add_tables(copy, sparsifier);
  sparsifier.step();
  squash_to_zero(sparsifier);
  return copy;
}

double share_of_zeros(const Recommender& model) {
  int64_t zeros = 0, values = 0;
  for (const at::Tensor& weight : model->embeddings->parameters()) {
    zeros += weight.eq(0).sum().item<int64_t>();
    values += weight.numel();
  }
  return static_cast<double>(zeros) / static_cast<double>(values);
}

int64_t table_bytes(const Recommender& model) {
  int64_t bytes = 0;
  for (const at::Tensor& weight : model->embeddings->parameters()) {
    bytes += static_cast<int64_t>(weight.nbytes());
  }
  return bytes;
}

}  // namespace recommender
