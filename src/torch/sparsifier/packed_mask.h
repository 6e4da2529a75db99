// PRIVATE. Masks in a state at one bit a value.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "winnow/torch/named_values.h"

namespace winnow::internal {

/// Returns `mask_bits` (uint8, [ceil(numel / 8)], as core/packed_mask.h packs it), `mask_shape` and
/// `mask_dtype`; or, if a value is neither 0 nor 1, `mask` itself, a copy.
NamedValues packed_mask_values(const at::Tensor& mask);

/// Returns the mask that `values` hold in that form; undefined if they hold none. Throws c10::Error
/// "Error loading NAME" if they do not fit together, or the mask has more than `most` values.
at::Tensor unpacked_mask(const std::string& name, const NamedValues& values, int64_t most);

/// Returns true if `values` hold a mask in that form with the shape and the dtype of `mask`, which
/// has one byte a value in contiguous memory of the CPU: then unpack_into cannot fail. Throws what
/// unpacked_mask throws.
bool can_unpack_into(const std::string& name, const NamedValues& values, const at::Tensor& mask);
void unpack_into(const NamedValues& values, const at::Tensor& mask);

/// Throws c10::ValueError if `state`, what update_mask keeps for `name`, uses a name of this form.
void check_no_mask_names(const std::string& name, const NamedValues& state);

/// Removes the mask from `values`: in this form, dense or sparse.
void erase_mask(NamedValues& values);

}  // namespace winnow::internal
