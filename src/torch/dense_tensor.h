// PRIVATE. Tensors as files have them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace winnow {

/// `tensor` itself where its memory holds its values in order, else a copy of them on the CPU.
inline at::Tensor dense_on_cpu(const at::Tensor& tensor) {
  const bool plain =
      tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg() && !tensor._is_zerotensor();
  if (plain && tensor.device().is_cpu()) return tensor;
  return at::empty(tensor.sizes(), at::dtype(tensor.scalar_type())).copy_(tensor);
}

/// Whether some elements share memory, as those of expand() do.
inline bool is_expanded(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tensor.layout() != at::kStrided) return false;
  return tensor.nbytes() > tensor.storage().nbytes();
}

}  // namespace winnow
