// Embedding and EmbeddingBag: their common base, and what each adds to it.
#include "winnow/torch/nn/embedding.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/embedding.h>

#include <sstream>
#include <string_view>

#include "torch/support/class_name.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow::nn {
using namespace internal;

namespace {

/// LibTorch's module with these options: it initializes and prints for us. It is on the meta
/// device, because only its code is wanted.
template <typename LibTorchImpl, typename Options>
LibTorchImpl libtorch_module(Options options) {
  options._weight(at::empty({options.num_embeddings(), options.embedding_dim()}, at::kMeta));
  return LibTorchImpl(std::move(options));
}

}  // namespace

// LibTorch checks the options and draws the values, so both equal its own.
template <typename Derived, typename LibTorchImpl, typename Options>
QuantizableModule<Derived, LibTorchImpl, Options>::QuantizableModule(Options options)
    : QuantizableModule(LibTorchImpl(std::move(options))) {}

template <typename Derived, typename LibTorchImpl, typename Options>
QuantizableModule<Derived, LibTorchImpl, Options>::QuantizableModule(const LibTorchImpl& module)
    : options(module.options) {
  options._weight(at::Tensor());  // otherwise clones would keep the first module's table alive
  weight = this->register_parameter("weight", module.weight, module.weight.requires_grad());
  this->train(module.is_training());
}

// Called only for clones, which fill the tensors afterwards.
template <typename Derived, typename LibTorchImpl, typename Options>
void QuantizableModule<Derived, LibTorchImpl, Options>::reset() {
  if (is_quantized()) return register_placeholders();
  const at::Tensor empty = at::empty({0}, weight.options());
  weight = this->register_parameter("weight", empty, weight.requires_grad());
}

template <typename Derived, typename LibTorchImpl, typename Options>
void QuantizableModule<Derived, LibTorchImpl, Options>::reset_parameters() {
  const std::string name = class_name(typeid(LibTorchImpl));
  TORCH_CHECK_VALUE(!is_quantized(), "a quantized ", name.substr(0, name.rfind("Impl")),
                    " has no initial values to draw");
  auto module = libtorch_module<LibTorchImpl>(options);
  module.weight = weight;
  module.reset_parameters();
}

template <typename Derived, typename LibTorchImpl, typename Options>
void QuantizableModule<Derived, LibTorchImpl, Options>::pretty_print(std::ostream& stream) const {
  std::ostringstream text;
  libtorch_module<LibTorchImpl>(options).pretty_print(text);
  // LibTorch prints "torch::nn::Name(...)", Python's quantized modules "QuantizedName(...)".
  constexpr std::string_view kNamespace = "torch::nn::";
  stream << (is_quantized() ? "Quantized" : "winnow::nn::") << text.str().substr(kNamespace.size());
}

template <typename Derived, typename LibTorchImpl, typename Options>
std::shared_ptr<const WeightStorage> QuantizableModule<Derived, LibTorchImpl, Options>::storage()
    const {
  if (is_quantized()) return quantized_storage();
  return make_storage(weight, this->parametrizations("weight"));
}

// The only two: the header has no definitions, to do without LibTorch's modules.
template class QuantizableModule<EmbeddingImpl, torch::nn::EmbeddingImpl, EmbeddingOptions>;
template class QuantizableModule<EmbeddingBagImpl, torch::nn::EmbeddingBagImpl,
                                 EmbeddingBagOptions>;

at::Tensor EmbeddingImpl::forward(const at::Tensor& indices) {
  return storage()->embedding(indices, options);
}

at::Tensor EmbeddingBagImpl::forward(const at::Tensor& input, const at::Tensor& offsets,
                                     const at::Tensor& per_sample_weights) {
  return storage()->embedding_bag(input, offsets, per_sample_weights, options);
}

Embedding Embedding::from_pretrained(const at::Tensor& embeddings,
                                     const EmbeddingFromPretrainedOptions& options) {
  return Embedding(torch::nn::Embedding::from_pretrained(embeddings, options));
}

EmbeddingBag EmbeddingBag::from_pretrained(const at::Tensor& embeddings,
                                           const EmbeddingBagFromPretrainedOptions& options) {
  // LibTorch drops include_last_offset here.
  EmbeddingBag bag(torch::nn::EmbeddingBag::from_pretrained(embeddings, options));
  bag->options.include_last_offset(options.include_last_offset());
  return bag;
}

}  // namespace winnow::nn
