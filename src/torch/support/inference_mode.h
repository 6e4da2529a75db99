// PRIVATE. Tensors that outlive a call have to be normal ones, whatever the mode of the caller.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <optional>

namespace winnow::internal {

/// Leaves inference mode while it lives; elsewhere it does nothing. Leaving turns gradients on.
class OutOfInferenceMode {
 public:
  OutOfInferenceMode() {
    if (c10::InferenceMode::is_enabled()) normal_.emplace(false);
  }

 private:
  std::optional<c10::InferenceMode> normal_;
};

/// The mode in which `tensor` may be written, while it lives: an inference tensor may be changed in
/// inference mode alone, and a normal one should not be, because autograd would not notice.
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
