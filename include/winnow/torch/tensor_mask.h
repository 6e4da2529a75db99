// Masks of tensors: the core's exact selection on tensors of any device, rank and layout.
//
//   at::Tensor mask = winnow::compute_mask(weight, {.sparsity_level = 0.8});   // int8, 1 = kept
//   winnow::apply_mask_(weight, mask);
//
// Tensors on another device are copied to the CPU, and their masks back. Threads are those of
// at::parallel_for; the result does not depend on their number. Thread-safety: all functions may be
// called at the same time with distinct masks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "winnow/core/data_norm.h"

namespace winnow {

/// The mask of `data` by the rule of `config` (core/data_norm.h): int8, contiguous, of data's shape
/// and device; 1 = kept, 0 = dropped.
///
/// @param data F32, F64, F16 or BF16, strided, of any rank and strides. Dimensions of size 1 are
///             dropped; the last of the others is the columns, the rest fold into rows.
/// Errors: c10::ValueError for a config or a dtype outside its range, naming it.
/// Differs from torch.ao: the mask has the data's shape, and any rank is accepted.
at::Tensor compute_mask(const at::Tensor& data, const DataNormConfig& config);

/// The same into an existing mask.
///
/// @param mask  int8, contiguous, of data's shape and device; shares no memory with `data`. Its
///              version counter is bumped: a backward pass that saved the old mask then fails
///              instead of reading the new one.
/// Allocates nothing of the mask's size on the CPU. Data that is not contiguous is read through its
/// row stride, or in pieces of 4 MiB (of one block, if that is more), never copied whole. A meta
/// mask has no bytes and is left as it is.
/// Errors: c10::ValueError naming what was wrong and what would be right, with the mask untouched;
/// c10::Error if memory runs out, with the mask in any state.
void compute_mask_out(const at::Tensor& data, const DataNormConfig& config, const at::Tensor& mask);

/// A tensor and the place of its mask, as compute_mask_out takes them.
struct TensorMask {
  at::Tensor data;
  at::Tensor mask;
};

/// One mask each, in order; what compute_mask_out does for each pair, with the settings and the
/// tensors checked before any mask is written. No mask may share memory with another, nor with the
/// data of any other target.
void compute_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config);

/// Spends one budget over all tensors: round_half_even(sparsity_level * blocks of all of them)
/// blocks are pruned, by score across all of them; ties go to the earlier tensor. If dtypes
/// differ, scores are compared as F64. Errors as compute_mask_out, before any mask is written.
void compute_global_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config);

/// Sets `data` to +0 wherever `mask` is 0, in place; all other values keep their bits. That is what
/// `winnow verify` asks of a file. A product (squash_mask, data * mask) leaves -0 if the value was
/// negative and NaN if it was NaN or infinite, as torch.ao does; after it:
///
///   sparsifier.squash_mask();
///   winnow::apply_mask_(model->users->weight, sparsifier.get_mask("users"));
///
/// Runs without gradient, as torch::nn::init does, so a leaf that requires grad is fine; the
/// version counter of `data` is bumped. Allocates nothing of the data's size if both are
/// contiguous on the CPU and the mask has one byte a value.
///
/// @param data  F32, F64, F16 or BF16, strided, no element in two places (not expanded)
/// @param mask  any dtype, of data's shape and device; shares no memory with `data`
/// Errors: c10::ValueError naming what was wrong; nothing is written then.
void apply_mask_(const at::Tensor& data, const at::Tensor& mask);

}  // namespace winnow
