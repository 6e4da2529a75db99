// PRIVATE. The types of parametrization that configurations and files can name.
#pragma once

#include <memory>
#include <string>

#include "winnow/torch/named_values.h"
#include "winnow/torch/parametrization.h"

namespace winnow::internal {

/// The link for `mask` that `group` asks for by `parametrization`, or FakeSparsity.
/// c10::ValueError naming the type where nobody registered it, c10::TypeError where it is no name.
std::shared_ptr<Parametrization> make_link(const NamedValues& group, const at::Tensor& mask);

/// AssertionError "mask shape ..." where `mask` is undefined; c10::ValueError naming what is wrong
/// where it is sparse, quantized or nested, requires grad or is not on the weight's device.
void check_mask(const at::Tensor& mask, const at::Tensor& weight);

/// Throws as register_parametrization does where `link` cannot stand on `tensor`; FakeSparsity is
/// judged by the dtypes and shapes alone, without evaluating it.
void check_link(const at::Tensor& tensor, Parametrization& link);

}  // namespace winnow::internal
