// PRIVATE. Masks in a state at one bit a value.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "winnow/torch/named_values.h"

namespace winnow::internal {

/// `mask_bits` (uint8, [ceil(numel / 8)], as core/packed_mask.h packs it), `mask_shape` and
/// `mask_dtype`; or, where a value is neither 0 nor 1, `mask` itself, a copy.
NamedValues packed_mask_values(const at::Tensor& mask);

/// The mask that `values` hold in that form; undefined where they hold none.
/// c10::Error "Error loading NAME" where they do not fit together, or the mask has more than
/// `most` values.
at::Tensor unpacked_mask(const std::string& name, const NamedValues& values, int64_t most);

/// Whether `values` hold a mask in that form with the shape and the dtype of `mask`, which has one
/// byte a value in contiguous memory of the CPU: then unpack_into cannot fail. Errors as
/// unpacked_mask.
bool can_unpack_into(const std::string& name, const NamedValues& values, const at::Tensor& mask);
void unpack_into(const NamedValues& values, const at::Tensor& mask);

/// c10::ValueError where `state`, what update_mask keeps for `name`, uses a name of this form.
void check_no_mask_names(const std::string& name, const NamedValues& state);

/// Takes all that says the mask out of `values`: in this form, dense or sparse.
void erase_mask(NamedValues& values);

}  // namespace winnow::internal
