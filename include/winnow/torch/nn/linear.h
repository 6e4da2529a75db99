// A drop-in for torch::nn::Linear whose weight and bias can be masked in place.
//
//   winnow::nn::Linear linear(winnow::nn::LinearOptions(64, 10).bias(false));
//   winnow::nn::Linear converted(model->linear);  // a torch::nn::Linear: the same tensors
//
// See torch::nn::Linear for the exact behaviour. Thread-safety: that of torch::nn modules. forward
// may run in several threads unless the module is being converted or trained.
#pragma once

#include <torch/nn/options/linear.h>
#include <torch/nn/pimpl.h>

#include "winnow/torch/nn/storage.h"
#include "winnow/torch/parametrization.h"

namespace torch::nn {
class LinearImpl;
class Linear;
}  // namespace torch::nn

namespace winnow::nn {

using torch::nn::LinearOptions;

/// Computes input * weight^T + bias. Options, initial values, parameter names, archives, forward
/// and errors are those of torch::nn::LinearImpl. It does not derive from that class, because a
/// call through that type would not see a mask.
///
/// Differs from LibTorch: a clone keeps requires_grad.
class LinearImpl : public ParametrizableModule<LinearImpl> {
 public:
  /// Initializes weight and bias as torch::nn does: the same values for the same seed.
  LinearImpl(int64_t in_features, int64_t out_features);
  explicit LinearImpl(const LinearOptions& options);

  /// Converts a module of LibTorch, with its options, training flag, weight and bias. Weight and
  /// bias are the same tensor objects, so both modules and an optimizer see each other's changes.
  explicit LinearImpl(const torch::nn::LinearImpl& module);
  explicit LinearImpl(const torch::nn::Linear& module);  ///< likewise, from its holder

  void reset() override;
  /// Initializes the originals anew.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// Computes input * weight^T + bias.
  /// @param input [..., in_features]
  /// @return [..., out_features]
  at::Tensor forward(const at::Tensor& input);

  /// Returns how the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const;

  /// The options of the constructor.
  LinearOptions options;

  /// The originals: [out_features, in_features] and [out_features]; `bias` is undefined if the
  /// option is false. Masking does not change the tensor objects; do not assign others while they
  /// are masked.
  at::Tensor weight, bias;
};

/// The holder of a LinearImpl, as torch::nn::Linear is of torch's.
TORCH_MODULE(Linear);

}  // namespace winnow::nn
