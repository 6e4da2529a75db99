// A drop-in for torch::nn::Linear whose weight and bias can be masked in place.
//
//   winnow::nn::Linear linear(winnow::nn::LinearOptions(64, 10).bias(false));
//   winnow::nn::Linear converted(model->linear);  // a torch::nn::Linear: the same tensors
//
// See torch::nn::Linear for the exact behaviour. Thread-safety: that of torch::nn
// modules: forward may run in several threads while nobody converts or trains the module.
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

/// input * weight^T + bias. Options, initial values, parameter names, archives, forward and errors
/// are those of torch::nn::LinearImpl, from which it does not derive: a call by that type would not
/// see a mask.
///
/// Differs from LibTorch: a clone keeps requires_grad.
class LinearImpl : public ParametrizableModule<LinearImpl> {
 public:
  /// As the constructors of torch::nn: the same first values for the same seed.
  LinearImpl(int64_t in_features, int64_t out_features);
  explicit LinearImpl(const LinearOptions& options);

  /// Takes over a module of LibTorch: its options, its training flag, its weight and its bias,
  /// which are the same tensor objects, so that both modules and an optimizer see each other's
  /// changes.
  explicit LinearImpl(const torch::nn::LinearImpl& module);
  explicit LinearImpl(const torch::nn::Linear& module);

  void reset() override;
  /// Draws the originals' initial values anew.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// @param input [..., in_features]
  /// @return [..., out_features]
  at::Tensor forward(const at::Tensor& input);

  /// How the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const;

  /// What the module was made with.
  LinearOptions options;

  /// The originals, always: [out_features, in_features] and [out_features]; `bias` is undefined
  /// without the option. The same tensor objects before, while and after they are masked; do not
  /// assign others while they are.
  at::Tensor weight, bias;
};

/// Holder of a LinearImpl, as torch::nn::Linear is of torch's.
TORCH_MODULE(Linear);

}  // namespace winnow::nn
