// PRIVATE. Maps LibTorch's element types to those of safetensors.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>

#include "base/torch_types.h"

namespace winnow::internal {

/// Return the same type of the other side, or nullopt if there is none. Float4_e2m1fn_x2 is kF4: it
/// packs two values of the last dimension into an element.
inline std::optional<DType> dtype_of(c10::ScalarType type) noexcept {
  const TorchType* found = find_torch_type(&TorchType::number, static_cast<int>(type));
  return found == nullptr ? std::nullopt : std::optional(found->dtype);
}

inline std::optional<c10::ScalarType> scalar_type_of(DType dtype) noexcept {
  const TorchType* found = find_torch_type(&TorchType::dtype, dtype);
  if (found == nullptr) return std::nullopt;
  return static_cast<c10::ScalarType>(found->number);
}

}  // namespace winnow::internal
