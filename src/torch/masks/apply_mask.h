// PRIVATE. One mask on several tensors at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "winnow/torch/tensor_mask.h"

namespace winnow::internal {

/// apply_mask_ on each of `tensors`, which all have the mask's shape; all are checked before the
/// first is written. Where all are contiguous on the CPU and the mask has one byte a value, the
/// mask is read from memory once and nothing is allocated.
void apply_mask_to_all(std::span<const at::Tensor> tensors, const at::Tensor& mask);

/// Whether a value of the mask is dropped exactly where its byte is 0.
bool has_mask_bytes(const at::Tensor& mask) noexcept;

}  // namespace winnow::internal
