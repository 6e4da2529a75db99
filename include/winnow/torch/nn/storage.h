// How the modules of winnow::nn store their weight. A module uses its storage for every lookup, so
// a conversion takes effect wherever the module is used: in a container, or as a typed member of a
// model. Thread-safety: a storage is immutable, and safe to read while its tensors are not written.
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

/// A weight of shape [rows, columns], and the computations of modules on it. It shares the tensors
/// of its module, and is valid until the module is converted.
///
/// By default, the computations are those of torch::nn::functional on weight(), with the same
/// checks and errors. A storage that does not need to expand its weight overrides them. `max_norm`
/// scales the rows of weight() in place: the module's own rows if the weight is dense, otherwise
/// those of the read.
class WeightStorage {
 public:
  virtual ~WeightStorage() = default;

  /// Returns "dense"; "masked", if the parametrizations include a FakeSparsity; "parametrized", if
  /// there are only others; or "quantized" (nn/quantizable.h).
  virtual std::string_view kind() const noexcept = 0;

  /// Returns the weight as forward sees it, with gradient.
  virtual at::Tensor weight() const = 0;

  /// Looks up rows, as torch::nn::functional::embedding does.
  /// @return [indices..., columns]
  virtual at::Tensor embedding(const at::Tensor& indices,
                               const torch::nn::EmbeddingOptions& options) const;

  /// Reduces bags of rows, as torch::nn::functional::embedding_bag does.
  /// @param input   indices: [bags, indices per bag], or flat with `offsets`, the starts of bags
  /// @param offsets [bags]; undefined with an input of two dimensions
  /// @param per_sample_weights of the shape of `input`; if undefined, all weights are 1
  /// @return [bags, columns]
  virtual at::Tensor embedding_bag(const at::Tensor& input, const at::Tensor& offsets,
                                   const at::Tensor& per_sample_weights,
                                   const torch::nn::EmbeddingBagOptions& options) const;

  /// Returns input * weight^T + bias.
  /// @param input [..., columns]
  /// @param bias  [rows], or undefined
  /// @return [..., rows]
  virtual at::Tensor linear(const at::Tensor& input, const at::Tensor& bias) const;
};

/// Returns the storage of `weight`, which is read through `chain` unless that is null.
std::shared_ptr<const WeightStorage> make_storage(const at::Tensor& weight,
                                                  std::shared_ptr<const ParametrizationList> chain);

}  // namespace winnow::nn
