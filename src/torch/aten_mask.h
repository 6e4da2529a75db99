// PRIVATE. Masks by ATen operators alone, for tensors on any device.
//
// The rule is that of core/data_norm.h, and so is every bit of the result: a block's scores are
// added one after the other, which takes an operator for each position in a block. Where a part of
// each block falls, the values of all blocks are sorted.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "winnow/core/data_norm.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {

/// Writes the masks of all targets under one budget. Scores meet on the device of the first tensor.
/// Preconditions: targets that check_mask_targets accepts, none of them meta tensors.
void write_aten_masks(std::span<const TensorMask> targets, const DataNormConfig& config);

}  // namespace winnow
