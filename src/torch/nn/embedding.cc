#include "winnow/torch/nn/embedding.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/embedding.h>

#include "torch/nn/libtorch_text.h"

namespace winnow::nn {
using namespace internal;

namespace {

/// LibTorch's module with these options, on the meta device: it initializes and prints for us.
torch::nn::EmbeddingImpl libtorch_module(EmbeddingOptions options) {
  options._weight(at::empty({options.num_embeddings(), options.embedding_dim()}, at::kMeta));
  return torch::nn::EmbeddingImpl(std::move(options));
}

}  // namespace

EmbeddingImpl::EmbeddingImpl(int64_t num_embeddings, int64_t embedding_dim)
    : EmbeddingImpl(EmbeddingOptions(num_embeddings, embedding_dim)) {}

// LibTorch checks the options and draws the values, so both equal its own.
EmbeddingImpl::EmbeddingImpl(EmbeddingOptions options)
    : EmbeddingImpl(torch::nn::EmbeddingImpl(std::move(options))) {}

EmbeddingImpl::EmbeddingImpl(const torch::nn::Embedding& module) : EmbeddingImpl(*module) {}

EmbeddingImpl::EmbeddingImpl(const torch::nn::EmbeddingImpl& module) : options(module.options) {
  options._weight(at::Tensor());  // otherwise clones would keep the first module's table alive
  weight = register_parameter("weight", module.weight, module.weight.requires_grad());
  train(module.is_training());
}

// Called only for clones, which fill the tensors afterwards.
void EmbeddingImpl::reset() {
  if (is_quantized()) return register_placeholders();
  weight = register_parameter("weight", at::empty({0}, weight.options()), weight.requires_grad());
}

void EmbeddingImpl::reset_parameters() {
  TORCH_CHECK_VALUE(!is_quantized(), "a quantized Embedding has no initial values to draw");
  auto module = libtorch_module(options);
  module.weight = weight;
  module.reset_parameters();
}

void EmbeddingImpl::pretty_print(std::ostream& stream) const {
  const auto module = libtorch_module(options);
  stream << (is_quantized() ? quantized_text(module) : libtorch_text(module));
}

at::Tensor EmbeddingImpl::forward(const at::Tensor& indices) {
  return storage()->embedding(indices, options);
}

std::shared_ptr<const WeightStorage> EmbeddingImpl::storage() const {
  if (is_quantized()) return quantized_storage();
  return make_storage(weight, parametrizations("weight"));
}

Embedding Embedding::from_pretrained(const at::Tensor& embeddings,
                                     const EmbeddingFromPretrainedOptions& options) {
  return Embedding(torch::nn::Embedding::from_pretrained(embeddings, options));
}

}  // namespace winnow::nn
