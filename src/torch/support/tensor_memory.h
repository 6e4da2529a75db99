// PRIVATE. The memory of tensors: as bytes, as dense copies, and what autograd is told of it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstddef>
#include <span>

namespace winnow::internal {

template <typename Byte = std::byte>
std::span<const Byte> tensor_bytes(const at::Tensor& tensor) {
  static_assert(sizeof(Byte) == 1);
  return {static_cast<const Byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

/// For writing: autograd does not see it.
template <typename Byte = std::byte>
std::span<Byte> mutable_tensor_bytes(const at::Tensor& tensor) {
  static_assert(sizeof(Byte) == 1);
  return {static_cast<Byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

/// Returns true if memory of the CPU holds the values in order: lazy ones are not in memory.
inline bool is_plain_memory(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg() &&
         !tensor._is_zerotensor();
}

/// Returns `tensor` itself if it is plain memory, otherwise a copy.
inline at::Tensor dense_on_cpu(const at::Tensor& tensor) {
  if (is_plain_memory(tensor)) return tensor;
  return at::empty(tensor.sizes(), at::dtype(tensor.scalar_type())).copy_(tensor);
}

/// Returns true if some elements share memory, as those of expand() do.
inline bool is_expanded(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tensor.layout() != at::kStrided) return false;
  return tensor.nbytes() > tensor.storage().nbytes();
}

/// A backward pass that saved `tensor` fails from now on, instead of reading the new values.
/// Inference tensors are not tracked.
inline void bump_version(const at::Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace winnow::internal
