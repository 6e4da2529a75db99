#include "torch/data_weight.h"

#include <torch/nn/modules/embedding.h>

#include "torch/check.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
namespace {

constexpr const char* kSupported =
    " not supported: pass a dense tensor, an Embedding or an EmbeddingBag";

template <typename Impl>
const at::Tensor* weight_in(torch::nn::Module& module) {
  auto* impl = dynamic_cast<Impl*>(&module);
  return impl == nullptr ? nullptr : &impl->weight;
}

const at::Tensor* weight_of_module(torch::nn::Module& module) {
  if (const auto* weight = weight_in<torch::nn::EmbeddingImpl>(module)) return weight;
  if (const auto* weight = weight_in<torch::nn::EmbeddingBagImpl>(module)) return weight;
  if (const auto* weight = weight_in<nn::EmbeddingImpl>(module)) return weight;
  return weight_in<nn::EmbeddingBagImpl>(module);
}

}  // namespace

DataWeight weight_of(const Data& data) {
  if (data.module() != nullptr) {
    torch::nn::Module& module = *data.module();
    const at::Tensor* weight = weight_of_module(module);
    WINNOW_CHECK_ASSERTION(weight != nullptr, "specified data type ", module.name(), kSupported);
    WINNOW_CHECK_ASSERTION(!is_parametrized(module, "weight"), "specified data type parametrized ",
                           module.name(), kSupported,
                           ". Remove its parametrizations first, or pass its `weight`");
    return {*weight, true};
  }
  const at::Tensor& tensor = data.tensor();
  WINNOW_CHECK_ASSERTION(tensor.defined(),
                         "specified data type: an undefined tensor or null module is", kSupported);
  WINNOW_CHECK_ASSERTION(tensor.layout() == at::kStrided && !tensor.is_quantized(),
                         "specified data type ", tensor.is_quantized() ? "quantized" : "sparse",
                         " tensor ", kSupported);
  return {tensor, tensor.is_leaf() && tensor.requires_grad()};
}

}  // namespace winnow
