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
class Embedding;
}  // namespace torch::nn

namespace winnow::nn {

using torch::nn::EmbeddingFromPretrainedOptions;
using torch::nn::EmbeddingOptions;

/// Looks up rows of a table. Options, initial values, parameter names, archives, forward and errors
/// are those of torch::nn::EmbeddingImpl. It does not derive from that class, because a call
/// through that type would not see a mask.
///
/// Differs from LibTorch: a clone has tensors of its own even if the weight was passed in, and
/// keeps requires_grad.
class EmbeddingImpl : public QuantizableModule<EmbeddingImpl> {
 public:
  /// Initializes the weight as torch::nn does: the same values for the same seed.
  EmbeddingImpl(int64_t num_embeddings, int64_t embedding_dim);
  explicit EmbeddingImpl(EmbeddingOptions options);

  /// Converts a module of LibTorch, with its options, training flag and weight. The weight is the
  /// same tensor object, so both modules and an optimizer see each other's changes.
  explicit EmbeddingImpl(const torch::nn::EmbeddingImpl& module);
  explicit EmbeddingImpl(const torch::nn::Embedding& module);  ///< likewise, from its holder

  void reset() override;
  /// Initializes the original anew. Throws c10::ValueError if the module is quantized.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// Returns the rows of `indices`: [indices..., embedding_dim].
  at::Tensor forward(const at::Tensor& indices);

  /// Returns how the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const override;

  /// The options of the constructor, without `_weight`, which became `weight`.
  EmbeddingOptions options;

  /// The original: [num_embeddings, embedding_dim]. Masking does not change the tensor object; do
  /// not assign another while it is masked. Undefined once the module is quantized.
  at::Tensor weight;
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
