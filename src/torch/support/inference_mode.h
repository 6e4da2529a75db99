// PRIVATE. Modes in which tensors are made and written. Tensors that outlive a call must be normal
// tensors even if the caller is in inference mode.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <optional>

namespace winnow::internal {

/// Leaves inference mode during its lifetime; does nothing outside of it. Leaving inference mode
/// turns gradients on.
class OutOfInferenceMode {
 public:
  OutOfInferenceMode() {
    if (c10::InferenceMode::is_enabled()) normal_.emplace(false);
  }

 private:
  std::optional<c10::InferenceMode> normal_;
};

/// Enters the mode in which `tensor` may be written, during its lifetime. An inference tensor can
/// only be changed in inference mode; a normal one should not be, because autograd would not
/// notice.
class InModeOf {
 public:
  explicit InModeOf(const at::Tensor& tensor) {
    if (tensor.is_inference() != c10::InferenceMode::is_enabled()) {
      mode_.emplace(tensor.is_inference());
    }
  }

 private:
  std::optional<c10::InferenceMode> mode_;
};

}  // namespace winnow::internal
