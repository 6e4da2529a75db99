// PRIVATE. The types of parametrization that configurations and files can name.
#pragma once

#include <memory>

#include "winnow/torch/named_values.h"
#include "winnow/torch/parametrization.h"

namespace winnow::internal {

/// Makes the link for `mask` that `group` names as `parametrization`, or else a FakeSparsity.
/// Throws c10::ValueError, with the type, if it is not registered, and c10::TypeError if it is not
/// a string.
std::shared_ptr<Parametrization> make_link(const NamedValues& group, const at::Tensor& mask);

/// Throws AssertionError "mask shape ..." if `mask` is undefined, and c10::ValueError if it is
/// sparse, quantized or nested, requires grad or is not on the weight's device.
void check_mask(const at::Tensor& mask, const at::Tensor& weight);

/// Throws what register_parametrization throws if `link` does not fit `tensor`. FakeSparsity is
/// checked by dtypes and shapes alone, without the cost of evaluating it.
void check_link(const at::Tensor& tensor, Parametrization& link);

}  // namespace winnow::internal
