// The parametrization that applies a mask. Thread-safety: that of parametrization.h.
#pragma once

#include "winnow/torch/parametrization.h"

namespace winnow {

/// Multiplies by a mask: forward(x) is mask * x, so a dropped value reads as 0 (as -0 if it is
/// negative, as NaN if it is NaN or infinite). The gradient of the original is that of the product
/// times the mask.
///
/// `mask` is the tensor object that was passed in: changing it in place changes the reads.
/// named_buffers lists it, but it is not part of the state: torch::save writes nothing of this
/// module, and torch::load leaves the mask unchanged. Differs from torch.ao: loading does not
/// require a mask that saving left out.
class FakeSparsity : public Parametrization {
 public:
  /// @param mask has the shape of the data; bool, or a dtype that does not promote the data's
  /// Throws AssertionError if it is undefined.
  explicit FakeSparsity(at::Tensor mask);

  /// Returns mask * x. Throws AssertionError "mask shape (...) must match x shape (...)" if the
  /// shapes differ: there is no broadcasting.
  at::Tensor forward(const at::Tensor& x) override;

  /// Throws what forward would throw for the shape of `x`.
  void check_shape(const at::Tensor& x) const;

  /// Returns a copy that has its own copy of the mask.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override;

  /// Returns false: the mask is never saved, and save and load do nothing.
  bool is_serializable() const override { return false; }
  void save(torch::serialize::OutputArchive&) const override {}
  void load(torch::serialize::InputArchive&) override {}

  /// The mask, with the shape of the data: 1 or true = kept.
  at::Tensor mask;
};

}  // namespace winnow
