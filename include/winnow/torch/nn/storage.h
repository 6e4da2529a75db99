// How the modules of winnow::nn store their weight. A module asks its storage for every lookup, so
// a conversion takes effect wherever the module sits: in a container, or as a typed member of a
// model. Thread-safety: a storage is immutable, and safe to read while nobody writes its tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string_view>

namespace torch::nn {
struct EmbeddingOptions;
struct EmbeddingBagOptions;
}  // namespace torch::nn

namespace winnow {
class ParametrizationList;
}

namespace winnow::nn {

/// A weight of shape [rows, columns], and what modules compute with it. It shares the tensors of
/// the module that it was taken from, and is good until the module is converted.
///
/// The computations have defaults, which are torch::nn::functional's on weight(), with its checks
/// and errors; a storage that need not expand its weight overrides them. `max_norm` scales the rows
/// of weight() in place: those of the module where it is dense, of the read otherwise.
class WeightStorage {
 public:
  virtual ~WeightStorage() = default;

  /// "dense"; "masked", where a FakeSparsity is among the parametrizations; "parametrized", where
  /// there are only others; "quantized" (nn/quantizable.h).
  virtual std::string_view kind() const noexcept = 0;

  /// The weight as forward sees it, with gradient.
  virtual at::Tensor weight() const = 0;

  /// @return [indices..., columns]
  virtual at::Tensor embedding(const at::Tensor& indices,
                               const torch::nn::EmbeddingOptions& options) const;

  /// @param input   indices: [bags, indices a bag], or flat with `offsets`, where each bag starts
  /// @param offsets [bags]; undefined with an input of two dimensions
  /// @param per_sample_weights of the shape of `input`, or undefined: all are 1
  /// @return [bags, columns]
  virtual at::Tensor embedding_bag(const at::Tensor& input, const at::Tensor& offsets,
                                   const at::Tensor& per_sample_weights,
                                   const torch::nn::EmbeddingBagOptions& options) const;

  /// @param input [..., columns]
  /// @param bias  [rows], or undefined
  /// @return [..., rows]
  virtual at::Tensor linear(const at::Tensor& input, const at::Tensor& bias) const;
};

/// The storage of `weight`: as it is, or read through `chain` where that is not null.
std::shared_ptr<const WeightStorage> make_storage(const at::Tensor& weight,
                                                  std::shared_ptr<const ParametrizationList> chain);

}  // namespace winnow::nn
