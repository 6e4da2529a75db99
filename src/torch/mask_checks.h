// PRIVATE. What the functions that write masks refuse, before any mask is written.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "winnow/core/data_norm.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {

/// Whether values of this type have a norm here: F32, F64, F16 and BF16.
bool is_prunable_type(c10::ScalarType type) noexcept;

/// c10::ValueError naming what was wrong and what would be right unless `data` is a defined,
/// strided tensor of F32, F64, F16 or BF16.
void check_mask_data(const at::Tensor& data);

/// c10::ValueError likewise unless the config is valid, all data are as above, and each mask is an
/// int8, contiguous tensor of its data's shape and device that shares no memory with any other
/// tensor of `targets`.
void check_mask_targets(std::span<const TensorMask> targets, const DataNormConfig& config);

}  // namespace winnow
