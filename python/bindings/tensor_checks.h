// PRIVATE. What the torch operators refuse, before anything is written, and how they see tensors.
// Every refusal is std::invalid_argument, which is ValueError in Python.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/core/strided_view.h"

namespace winnow::python {

/// Throws with a message made of `parts` unless `holds`.
template <typename... Parts>
void check(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

/// Throws if `status` is an error, with its message: std::bad_alloc if memory ran out,
/// std::invalid_argument otherwise.
void check_ok(const Status& status);

/// The elements of a contiguous tensor.
template <typename T>
std::span<T> span_of(const torch::stable::Tensor& tensor) {
  return {static_cast<T*>(tensor.mutable_data_ptr()), static_cast<size_t>(tensor.numel())};
}

/// How tensors see their values: element sizes and strides, which refer to the tensor.
StridedLayout layout_of(const torch::stable::Tensor& tensor);

/// The values of a tensor, which has to outlive the result. Throws unless it is strided, on the CPU
/// and F32, F64, F16 or BF16. `name` stands in messages.
StridedView values_of(const torch::stable::Tensor& tensor, const std::string& name);

/// The tensors and their masks as the core takes them; they have to outlive the result. Throws
/// unless each mask is a strided int8 tensor on the CPU. All else is the core's to check. The
/// names in messages are the core's: "data" and "mask", or "data[i]" and "masks[i]".
std::vector<StridedTarget> targets_of(std::span<const torch::stable::Tensor> data,
                                      std::span<const torch::stable::Tensor> masks);

}  // namespace winnow::python
