// PRIVATE. What the torch operators refuse, before anything is written, and how they see tensors.
// Every refusal is std::invalid_argument, which is ValueError in Python.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <ostream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>

#include "strided_tensor.h"
#include "winnow/base/status.h"

namespace winnow::python {

/// Throws with a message made of `parts` unless `holds`.
template <typename... Parts>
void check(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

/// Throws where `status` is an error, with its message: std::bad_alloc where memory ran out,
/// std::invalid_argument otherwise.
void check_ok(const Status& status);

/// A tensor's name in messages; of a list, its number too.
struct TensorName {
  TensorName(const char* name) : name(name) {}  // NOLINT: implicit, so that text is a name
  TensorName(const char* name, size_t index) : name(name), index(static_cast<int64_t>(index)) {}

  const char* name;
  int64_t index = -1;  ///< not negative: of a list
};

std::ostream& operator<<(std::ostream& stream, const TensorName& name);

/// The values of a tensor, which has to outlive the result. Throws unless it is strided and F32,
/// F64, F16 or BF16.
StridedTensor values_of(const torch::stable::Tensor& tensor, const TensorName& name);

/// The bytes of a mask. Precondition: check_mask accepted it.
std::span<uint8_t> mask_bytes(const torch::stable::Tensor& mask);

/// Throws unless the mask is a contiguous int8 tensor on the CPU of the data's shape.
void check_mask(const torch::stable::Tensor& mask, const torch::stable::Tensor& data,
                const TensorName& name);

/// Throws where two elements of the tensor share their place.
void check_writable(const StridedTensor& values, const torch::stable::Tensor& data);

/// Throws where a mask shares memory with another mask or with any of the data.
void check_apart(std::span<const torch::stable::Tensor> masks,
                 std::span<const torch::stable::Tensor> data);

}  // namespace winnow::python
