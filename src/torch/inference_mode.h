// PRIVATE. Tensors that outlive a call have to be normal ones, whatever the mode of the caller.
#pragma once

#include <c10/core/InferenceMode.h>

#include <optional>

namespace winnow {

/// Leaves inference mode while it lives; elsewhere it does nothing. Leaving turns gradients on.
class OutOfInferenceMode {
 public:
  OutOfInferenceMode() {
    if (c10::InferenceMode::is_enabled()) normal_.emplace(false);
  }

 private:
  std::optional<c10::InferenceMode> normal_;
};

}  // namespace winnow
