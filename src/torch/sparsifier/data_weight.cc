#include <torch/nn/modules/embedding.h>

#include "torch/sparsifier/data_sparsifier_impl.h"
#include "torch/support/errors.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/parametrization.h"

namespace winnow::internal {
namespace {

constexpr const char* kSupported =
    " not supported: pass a dense tensor, an Embedding or an EmbeddingBag";

template <typename Impl>
const at::Tensor* weight_in(torch::nn::Module& module) {
  auto* impl = dynamic_cast<Impl*>(&module);
  return impl == nullptr ? nullptr : &impl->weight;
}

void check_not_quantized(const torch::nn::Module& module) {
  const auto* quantizable = dynamic_cast<const nn::Quantizable*>(&module);
  WINNOW_CHECK_ASSERTION(quantizable == nullptr || !quantizable->is_quantized(),
                         "specified data type quantized ", module.name(), " is", kSupported,
                         ". Sparsify it first, or see post_training_sparse_quantize");
}

}  // namespace

const at::Tensor* weight_of_module(torch::nn::Module& module) {
  // LibTorch's classes have no common base with a weight.
  if (const auto* weight = weight_in<torch::nn::EmbeddingImpl>(module)) return weight;
  if (const auto* weight = weight_in<torch::nn::EmbeddingBagImpl>(module)) return weight;
  if (const auto* weight = weight_in<nn::EmbeddingImpl>(module)) return weight;
  return weight_in<nn::EmbeddingBagImpl>(module);
}

void check_is_dense(const at::Tensor& tensor, const std::string& owner) {
  WINNOW_CHECK_ASSERTION(tensor.defined(), "specified data type: ", owner,
                         "an undefined tensor or a null module is", kSupported);
  // A mask of the same shape cannot address the values of others.
  const bool dense =
      tensor.layout() == at::kStrided && !tensor.is_quantized() && !tensor.is_nested();
  WINNOW_CHECK_ASSERTION(dense, "specified data type: ", owner, tensor.toString(), " is",
                         kSupported);
}

DataWeight weight_of(const Data& data) {
  if (data.module() == nullptr) {
    check_is_dense(data.tensor(), "");
    // LibTorch has no Parameter class; a leaf that requires grad is what an optimizer can train.
    return {data.tensor(), data.tensor().is_leaf() && data.tensor().requires_grad()};
  }
  torch::nn::Module& module = *data.module();
  const at::Tensor* weight = weight_of_module(module);
  WINNOW_CHECK_ASSERTION(weight != nullptr, "specified data type ", module.name(), kSupported);
  WINNOW_CHECK_ASSERTION(!is_parametrized(module, "weight"), "specified data type parametrized ",
                         module.name(), kSupported,
                         ". Remove its parametrizations first, or pass its `weight`");
  check_not_quantized(module);
  check_is_dense(*weight, "the weight of " + module.name() + ": ");
  // The module is kept, to notice when its weight becomes another tensor.
  return {*weight, true, data.module()};
}

}  // namespace winnow::internal
