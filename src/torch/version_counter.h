// PRIVATE. Telling autograd that a tensor's memory was written behind its back.
#pragma once

#include <ATen/core/Tensor.h>

namespace winnow {

/// A backward pass that saved `tensor` fails from now on, instead of reading the new values.
/// Inference tensors are not tracked.
inline void bump_version(const at::Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace winnow
