// PRIVATE. Masks of CPU tensors that are not laid out in rows: the core sees them piece by piece.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "winnow/base/parallel_for.h"
#include "winnow/core/data_norm.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {

/// Writes the masks of all targets under one budget, the bytes that contiguous copies would give.
/// Allocates buffers of a few MiB, or of one block where that is more. Throws what check_ok throws.
/// Preconditions: a valid config; targets that check_targets accepts, on the CPU.
void write_pieced_masks(std::span<const TensorMask> targets, const DataNormConfig& config,
                        ParallelFor& threads);

}  // namespace winnow
