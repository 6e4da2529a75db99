// PRIVATE. Tensors and their masks as the views that the core takes: all that is left to this layer
// is what the core does not know, that is undefined tensors, layouts, dtypes and devices.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>

#include "winnow/core/mask.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow::internal {

/// Returns the places of a tensor's elements. Refers to the tensor.
StridedLayout layout_of(const at::Tensor& tensor);

/// Returns true if values of this type have a norm here: F32, F64, F16 and BF16.
bool is_prunable_type(c10::ScalarType type) noexcept;

/// Throws c10::ValueError, naming what was wrong and what would be right, unless `data` is a
/// defined, strided tensor of F32, F64, F16 or BF16.
void check_mask_data(const at::Tensor& data);

/// Throws c10::ValueError likewise unless the config is valid, all data are as above, and each mask
/// is an int8, contiguous tensor of its data's shape and device that shares no memory with any
/// other tensor of `targets`.
void check_mask_targets(std::span<const TensorMask> targets, const DataNormConfig& config);

/// What writes the masks of targets that are on the CPU; it checks them itself.
using WriteMasks = std::function<Status(std::span<const StridedTarget>, ParallelFor&)>;

/// Calls `write` on the targets, on copies of those on another device, whose masks are copied back.
/// Meta tensors have no values and are left out. Bumps the versions of the masks.
/// Throws as check_mask_targets, with no mask written, and what `write` says.
void write_masks(std::span<const TensorMask> targets, const WriteMasks& write);

/// The same by copies, whatever the device.
void write_masks_by_copy(std::span<const TensorMask> targets, const WriteMasks& write);

/// Does what apply_mask_ does to each of `tensors`, which must all have the mask's shape. All are
/// checked before the first is written. If all are contiguous on the CPU and the mask has one byte
/// for each value, the mask is read from memory once and nothing is allocated.
void apply_mask_to_all(std::span<const at::Tensor> tensors, const at::Tensor& mask);

/// Returns true if the mask has one byte for each value, which is 0 exactly for dropped values.
bool has_mask_bytes(const at::Tensor& mask) noexcept;

}  // namespace winnow::internal
