// PRIVATE. Applies one mask to several tensors at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "winnow/torch/tensor_mask.h"

namespace winnow::internal {

/// Does what apply_mask_ does to each of `tensors`, which must all have the mask's shape. All are
/// checked before the first is written. If all are contiguous on the CPU and the mask has one byte
/// for each value, the mask is read from memory once and nothing is allocated.
void apply_mask_to_all(std::span<const at::Tensor> tensors, const at::Tensor& mask);

/// Returns true if the mask has one byte for each value, which is 0 exactly for dropped values.
bool has_mask_bytes(const at::Tensor& mask) noexcept;

}  // namespace winnow::internal
