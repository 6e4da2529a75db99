// PRIVATE. The memory of contiguous tensors on the CPU: good while the tensor keeps its storage.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

namespace winnow {

template <typename Byte = std::byte>
std::span<const Byte> tensor_bytes(const at::Tensor& tensor) {
  static_assert(sizeof(Byte) == 1);
  return {static_cast<const Byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

/// To be written: autograd does not see it.
template <typename Byte = std::byte>
std::span<Byte> mutable_tensor_bytes(const at::Tensor& tensor) {
  static_assert(sizeof(Byte) == 1);
  return {static_cast<Byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

}  // namespace winnow
