// A drop-in for torch::nn::Embedding whose weight can be masked, or quantized, in place.
//
//   winnow::nn::Embedding embedding(winnow::nn::EmbeddingOptions(1000, 64).padding_idx(0));
//   winnow::nn::Embedding converted(model->embedding);  // a torch::nn::Embedding: the same tensor
//
// See torch::nn::Embedding for the exact behaviour. Thread-safety: that of torch::nn modules.
// forward may run in several threads unless the module is being converted or trained, or has a
// max_norm, which scales rows in place.
#pragma once

#include <torch/nn/options/embedding.h>
#include <torch/nn/pimpl.h>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace torch::nn {
class EmbeddingImpl;
}

namespace winnow::nn {

using torch::nn::EmbeddingFromPretrainedOptions;
using torch::nn::EmbeddingOptions;

/// Looks up rows of a table, as torch::nn::EmbeddingImpl does. Its base has the constructors, the
/// options and the weight.
class EmbeddingImpl
    : public QuantizableModule<EmbeddingImpl, torch::nn::EmbeddingImpl, EmbeddingOptions> {
 public:
  using QuantizableModule::QuantizableModule;

  /// Returns the rows of `indices`: [indices..., embedding_dim].
  at::Tensor forward(const at::Tensor& indices);
};

/// The holder of an EmbeddingImpl, as torch::nn::Embedding is of torch's.
class Embedding : public torch::nn::ModuleHolder<EmbeddingImpl> {
 public:
  using torch::nn::ModuleHolder<EmbeddingImpl>::ModuleHolder;
  using Impl = EmbeddingImpl;

  /// Returns a module whose weight is the tensor object `embeddings`, frozen unless the option
  /// `freeze` is false.
  static Embedding from_pretrained(const at::Tensor& embeddings,
                                   const EmbeddingFromPretrainedOptions& options = {});
};

}  // namespace winnow::nn
