// A drop-in for torch::nn::EmbeddingBag whose weight can be masked, or quantized, in place.
//
//   winnow::nn::EmbeddingBag bag(winnow::nn::EmbeddingBagOptions(1000, 64).mode(torch::kSum));
//   winnow::nn::EmbeddingBag converted(model->bag);  // a torch::nn::EmbeddingBag: the same tensor
//
// See torch::nn::EmbeddingBag for the exact behaviour. Thread-safety: that of torch::nn
// modules: forward may run in several threads while nobody converts or trains the module and
// there is no max_norm, which scales rows in place.
#pragma once

#include <torch/nn/modules/common.h>
#include <torch/nn/options/embedding.h>
#include <torch/nn/pimpl.h>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace torch::nn {
class EmbeddingBagImpl;
class EmbeddingBag;
}  // namespace torch::nn

namespace winnow::nn {

using torch::nn::EmbeddingBagFromPretrainedOptions;
using torch::nn::EmbeddingBagOptions;

/// Sums, means or maxima over bags of rows of a table. Options, initial values, parameter names,
/// archives, forward and errors are those of torch::nn::EmbeddingBagImpl, from which it does not
/// derive: a call by that type would not see a mask.
///
/// Differs from LibTorch: a clone has tensors of its own also where the weight was handed in, and
/// keeps requires_grad.
class EmbeddingBagImpl : public QuantizableModule<EmbeddingBagImpl> {
 public:
  /// As the constructors of torch::nn: the same first values for the same seed.
  EmbeddingBagImpl(int64_t num_embeddings, int64_t embedding_dim);
  explicit EmbeddingBagImpl(EmbeddingBagOptions options);

  /// Takes over a module of LibTorch: its options, its training flag and its weight, which is the
  /// same tensor object, so that both modules and an optimizer see each other's changes.
  explicit EmbeddingBagImpl(const torch::nn::EmbeddingBagImpl& module);
  explicit EmbeddingBagImpl(const torch::nn::EmbeddingBag& module);

  void reset() override;
  /// Draws the original's initial values anew. c10::ValueError where the module is quantized.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// @param input   indices: [bags, indices a bag], or flat with `offsets`
  /// @param offsets [bags], where each bag starts in `input`; with `include_last_offset` one more,
  ///                where the last bag ends
  /// @param per_sample_weights of the shape of `input`; mode kSum only
  /// @return [bags, embedding_dim]
  at::Tensor forward(const at::Tensor& input, const at::Tensor& offsets = {},
                     const at::Tensor& per_sample_weights = {});

  /// How the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const override;

  /// What the module was made with, but for `_weight`: `weight` took its place.
  EmbeddingBagOptions options;

  /// The original: [num_embeddings, embedding_dim]. The same tensor object before, while and after
  /// it is masked; do not assign another while it is. Undefined once the module is quantized.
  at::Tensor weight;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})
};

/// Holder of an EmbeddingBagImpl, as torch::nn::EmbeddingBag is of torch's.
class EmbeddingBag : public torch::nn::ModuleHolder<EmbeddingBagImpl> {
 public:
  using torch::nn::ModuleHolder<EmbeddingBagImpl>::ModuleHolder;
  using Impl = EmbeddingBagImpl;

  /// A module on `embeddings`: the same tensor object, frozen unless `freeze` is false.
  /// Differs from LibTorch, which drops the option `include_last_offset`.
  static EmbeddingBag from_pretrained(const at::Tensor& embeddings,
                                      const EmbeddingBagFromPretrainedOptions& options = {});
};

}  // namespace winnow::nn
