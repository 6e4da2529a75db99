#include "prune.h"

#include <torch/torch.h>

#include <memory>
#include <string>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/tensor_mask.h"

namespace recommender {

winnow::AttachOptions tables_only() {
  return {.filter = [](const std::string& name, const at::Tensor&) {
    return name.starts_with("embeddings.");
  }};
}

Recommender copy_of(const Recommender& model) {
  return Recommender(std::dynamic_pointer_cast<RecommenderImpl>(winnow::clone_model(*model)));
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
  winnow::attach_model(*copy, sparsifier, tables_only());
  sparsifier.step();
  squash_to_zero(sparsifier);
  return copy;
}

Recommender quantized_copy(const Recommender& model, double level,
                           const winnow::PostTrainingSparseQuantizeOptions& options) {
  Recommender copy = copy_of(model);
  winnow::post_training_sparse_quantize(
      *copy, {.sparsity_level = level, .sparse_block_shape = {1, 1}}, options);
  return copy;
}

double share_of_zeros(const Recommender& model) {
  int64_t zeros = 0, values = 0;
  for (const auto& table : model->embeddings->children()) {
    const at::Tensor weight =
        std::dynamic_pointer_cast<winnow::nn::Quantizable>(table)->storage()->weight();
    zeros += weight.eq(0).sum().item<int64_t>();
    values += weight.numel();
  }
  return static_cast<double>(zeros) / static_cast<double>(values);
}

int64_t table_bytes(const Recommender& model) {
  int64_t bytes = 0;
  for (const auto& tensors : {model->embeddings->parameters(), model->embeddings->buffers()}) {
    for (const at::Tensor& tensor : tensors) {
      bytes += tensor.numel() * static_cast<int64_t>(tensor.element_size());
    }
  }
  return bytes;
}

}  // namespace recommender
