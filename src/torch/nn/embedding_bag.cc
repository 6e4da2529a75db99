#include "winnow/torch/nn/embedding_bag.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/embedding.h>

#include "torch/nn/libtorch_text.h"

namespace winnow::nn {
using namespace internal;

namespace {

/// LibTorch's module with these options, on the meta device: it initializes and prints for us.
torch::nn::EmbeddingBagImpl libtorch_module(EmbeddingBagOptions options) {
  options._weight(at::empty({options.num_embeddings(), options.embedding_dim()}, at::kMeta));
  return torch::nn::EmbeddingBagImpl(std::move(options));
}

}  // namespace

EmbeddingBagImpl::EmbeddingBagImpl(int64_t num_embeddings, int64_t embedding_dim)
    : EmbeddingBagImpl(EmbeddingBagOptions(num_embeddings, embedding_dim)) {}

// LibTorch checks the options and draws the values, so both equal its own.
EmbeddingBagImpl::EmbeddingBagImpl(EmbeddingBagOptions options)
    : EmbeddingBagImpl(torch::nn::EmbeddingBagImpl(std::move(options))) {}

EmbeddingBagImpl::EmbeddingBagImpl(const torch::nn::EmbeddingBag& module)
    : EmbeddingBagImpl(*module) {}

EmbeddingBagImpl::EmbeddingBagImpl(const torch::nn::EmbeddingBagImpl& module)
    : options(module.options) {
  options._weight(at::Tensor());  // otherwise clones would keep the first module's table alive
  weight = register_parameter("weight", module.weight, module.weight.requires_grad());
  train(module.is_training());
}

// Called only for clones, which fill the tensors afterwards.
void EmbeddingBagImpl::reset() {
  if (is_quantized()) return register_placeholders();
  weight = register_parameter("weight", at::empty({0}, weight.options()), weight.requires_grad());
}

void EmbeddingBagImpl::reset_parameters() {
  TORCH_CHECK_VALUE(!is_quantized(), "a quantized EmbeddingBag has no initial values to draw");
  auto module = libtorch_module(options);
  module.weight = weight;
  module.reset_parameters();
}

void EmbeddingBagImpl::pretty_print(std::ostream& stream) const {
  const auto module = libtorch_module(options);
  stream << (is_quantized() ? quantized_text(module) : libtorch_text(module));
}

at::Tensor EmbeddingBagImpl::forward(const at::Tensor& input, const at::Tensor& offsets,
                                     const at::Tensor& per_sample_weights) {
  return storage()->embedding_bag(input, offsets, per_sample_weights, options);
}

std::shared_ptr<const WeightStorage> EmbeddingBagImpl::storage() const {
  if (is_quantized()) return quantized_storage();
  return make_storage(weight, parametrizations("weight"));
}

EmbeddingBag EmbeddingBag::from_pretrained(const at::Tensor& embeddings,
                                           const EmbeddingBagFromPretrainedOptions& options) {
  // LibTorch drops include_last_offset here.
  EmbeddingBag bag(torch::nn::EmbeddingBag::from_pretrained(embeddings, options));
  bag->options.include_last_offset(options.include_last_offset());
  return bag;
}

}  // namespace winnow::nn
