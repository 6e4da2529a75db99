// A drop-in for torch::nn::Embedding whose weight can be masked, or quantized, in place.
//
//   winnow::nn::Embedding embedding(winnow::nn::EmbeddingOptions(1000, 64).padding_idx(0));
//   winnow::nn::Embedding converted(model->embedding);  // a torch::nn::Embedding: the same tensor
//
// See torch::nn::Embedding for the exact behaviour. Thread-safety: that of torch::nn modules:
// forward may run in several threads while nobody converts or trains the module and
// there is no max_norm, which scales rows in place.
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

/// Looks rows up in a table. Options, initial values, parameter names, archives, forward and errors
/// are those of torch::nn::EmbeddingImpl, from which it does not derive: a call by that type would
/// not see a mask.
///
/// Differs from LibTorch: a clone has tensors of its own also where the weight was handed in, and
/// keeps requires_grad.
class EmbeddingImpl : public QuantizableModule<EmbeddingImpl> {
 public:
  /// As the constructors of torch::nn: the same first values for the same seed.
  EmbeddingImpl(int64_t num_embeddings, int64_t embedding_dim);
  explicit EmbeddingImpl(EmbeddingOptions options);

  /// Takes over a module of LibTorch: its options, its training flag and its weight, which is the
  /// same tensor object, so that both modules and an optimizer see each other's changes.
  explicit EmbeddingImpl(const torch::nn::EmbeddingImpl& module);
  explicit EmbeddingImpl(const torch::nn::Embedding& module);

  void reset() override;
  /// Draws the original's initial values anew. c10::ValueError where the module is quantized.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// The rows of `indices`: [indices..., embedding_dim].
  at::Tensor forward(const at::Tensor& indices);

  /// How the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const override;

  /// What the module was made with, but for `_weight`: `weight` took its place.
  EmbeddingOptions options;

  /// The original: [num_embeddings, embedding_dim]. The same tensor object before, while and after
  /// it is masked; do not assign another while it is. Undefined once the module is quantized.
  at::Tensor weight;
};

/// Holder of an EmbeddingImpl, as torch::nn::Embedding is of torch's.
class Embedding : public torch::nn::ModuleHolder<EmbeddingImpl> {
 public:
  using torch::nn::ModuleHolder<EmbeddingImpl>::ModuleHolder;
  using Impl = EmbeddingImpl;

  /// A module on `embeddings`: the same tensor object, frozen unless `freeze` is false.
  static Embedding from_pretrained(const at::Tensor& embeddings,
                                   const EmbeddingFromPretrainedOptions& options = {});
};

}  // namespace winnow::nn
