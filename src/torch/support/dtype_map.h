// PRIVATE. Maps LibTorch's element types to those of safetensors.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>

#include "winnow/base/dtype.h"

namespace winnow::internal {

/// Return the same type of the other side, or nullopt if there is none. Float4_e2m1fn_x2 is kF4: it
/// packs two values of the last dimension into an element.
std::optional<DType> dtype_of(c10::ScalarType type) noexcept;
std::optional<c10::ScalarType> scalar_type_of(DType dtype) noexcept;

}  // namespace winnow::internal
