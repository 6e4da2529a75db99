// A drop-in for torch::nn::EmbeddingBag whose weight can be masked, or quantized, in place.
//
//   winnow::nn::EmbeddingBag bag(winnow::nn::EmbeddingBagOptions(1000, 64).mode(torch::kSum));
//   winnow::nn::EmbeddingBag converted(model->bag);  // a torch::nn::EmbeddingBag: the same tensor
//
// See torch::nn::EmbeddingBag for the exact behaviour. Thread-safety: that of torch::nn modules.
// forward may run in several threads unless the module is being converted or trained, or has a
// max_norm, which scales rows in place.
#pragma once

#include <torch/nn/modules/common.h>
#include <torch/nn/options/embedding.h>
#include <torch/nn/pimpl.h>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace torch::nn {
class EmbeddingBagImpl;
}

namespace winnow::nn {

using torch::nn::EmbeddingBagFromPretrainedOptions;
using torch::nn::EmbeddingBagOptions;

/// Computes sums, means or maxima over bags of rows of a table, as torch::nn::EmbeddingBagImpl
/// does. Its base has the constructors, the options and the weight.
class EmbeddingBagImpl
    : public QuantizableModule<EmbeddingBagImpl, torch::nn::EmbeddingBagImpl, EmbeddingBagOptions> {
 public:
  using QuantizableModule::QuantizableModule;

  /// Reduces each bag of rows to one row, by the option `mode`.
  /// @param input   indices: [bags, indices per bag], or flat with `offsets`
  /// @param offsets [bags], the start of each bag in `input`; with `include_last_offset` also the
  ///                end of the last bag
  /// @param per_sample_weights of the shape of `input`; mode kSum only
  /// @return [bags, embedding_dim]
  at::Tensor forward(const at::Tensor& input, const at::Tensor& offsets = {},
                     const at::Tensor& per_sample_weights = {});

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})
};

/// The holder of an EmbeddingBagImpl, as torch::nn::EmbeddingBag is of torch's.
class EmbeddingBag : public torch::nn::ModuleHolder<EmbeddingBagImpl> {
 public:
  using torch::nn::ModuleHolder<EmbeddingBagImpl>::ModuleHolder;
  using Impl = EmbeddingBagImpl;

  /// Returns a module whose weight is the tensor object `embeddings`, frozen unless the option
  /// `freeze` is false. Differs from LibTorch, which drops the option `include_last_offset`.
  static EmbeddingBag from_pretrained(const at::Tensor& embeddings,
                                      const EmbeddingBagFromPretrainedOptions& options = {});
};

}  // namespace winnow::nn
