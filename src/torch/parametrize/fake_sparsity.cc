#include "winnow/torch/fake_sparsity.h"

#include <ATen/core/grad_mode.h>

#include "torch/support/errors.h"

namespace winnow {
using namespace internal;

FakeSparsity::FakeSparsity(at::Tensor mask) : Parametrization("FakeSparsity"), mask(mask) {
  WINNOW_CHECK_ASSERTION(mask.defined(),
                         "mask shape must match x shape: the mask of FakeSparsity is undefined");
  register_buffer("mask", std::move(mask));
}

void FakeSparsity::check_shape(const at::Tensor& x) const {
  WINNOW_CHECK_ASSERTION(mask.sizes() == x.sizes(), "mask shape ", mask.sizes(),
                         " must match x shape ", x.sizes());
}

at::Tensor FakeSparsity::forward(const at::Tensor& x) {
  check_shape(x);
  // A product, as upstream: a negative value that is dropped reads as -0.
  return mask * x;
}

std::shared_ptr<torch::nn::Module> FakeSparsity::clone(
    const std::optional<at::Device>& device) const {
  // The copy is a mask of its own, and not a result of this one.
  at::NoGradGuard no_grad;
  auto copy = std::make_shared<FakeSparsity>(device && *device != mask.device() ? mask.to(*device)
                                                                                : mask.clone());
  copy->train(is_training());
  return copy;
}

}  // namespace winnow
