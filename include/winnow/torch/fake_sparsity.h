// The parametrization that applies a mask. Thread-safety: that of parametrization.h.
#pragma once

#include "winnow/torch/parametrization.h"

namespace winnow {

/// Multiplies by a mask: forward(x) is mask * x, so a dropped value reads as 0 (as -0 where x is
/// negative, and as NaN where x is NaN or infinite). The gradient of the original is that of the
/// product times the mask.
///
/// `mask` is the very tensor that was handed in: who changes it in place changes the reads. It is
/// listed by named_buffers, but is no part of the state: torch::save writes nothing of this module,
/// and torch::load leaves the mask as it is.
/// Differs from torch.ao: loading does not ask for a mask that saving left out.
class FakeSparsity : public Parametrization {
 public:
  /// @param mask of the shape of the data; bool, or a dtype that does not promote the data's.
  /// AssertionError where it is undefined.
  explicit FakeSparsity(at::Tensor mask);

  /// AssertionError "mask shape (...) must match x shape (...)" where they differ: no broadcasting.
  at::Tensor forward(const at::Tensor& x) override;

  /// Throws what forward would throw for the shape of `x`.
  void check_shape(const at::Tensor& x) const;

  /// A copy with a copy of the mask.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override;

  /// False: the mask is never saved, and save and load do nothing.
  bool is_serializable() const override { return false; }
  void save(torch::serialize::OutputArchive&) const override {}
  void load(torch::serialize::InputArchive&) override {}

  at::Tensor mask;
};

}  // namespace winnow
