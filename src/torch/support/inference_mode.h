// PRIVATE. Modes in which tensors are made and written. Tensors that outlive a call must be normal
// tensors even if the caller is in inference mode.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <optional>

namespace winnow::internal {

/// Enters or leaves inference mode during its lifetime; does nothing if that is the mode already.
/// Leaving it turns gradients on.
class InMode {
 public:
  explicit InMode(bool inference) {
    if (inference != c10::InferenceMode::is_enabled()) mode_.emplace(inference);
  }

  /// The mode in which `tensor` may be written. An inference tensor can only be changed in
  /// inference mode; a normal one should not be, because autograd would not notice.
  explicit InMode(const at::Tensor& tensor) : InMode(tensor.is_inference()) {}

 private:
  std::optional<c10::InferenceMode> mode_;
};

}  // namespace winnow::internal
