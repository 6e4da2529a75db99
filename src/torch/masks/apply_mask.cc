#include "torch/masks/apply_mask.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/eq.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "torch/masks/mask_targets.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"
#include "winnow/core/values.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
using namespace internal;

namespace {

void check(const at::Tensor& data, const at::Tensor& mask) {
  check_mask_data(data);
  check_ok(check_distinct_places(layout_of(data)));
  TORCH_CHECK_VALUE(mask.defined() && mask.layout() == at::kStrided && !mask.is_quantized(),
                    "mask: expected a strided tensor, found ", mask.toString());
  TORCH_CHECK_VALUE(mask.sizes() == data.sizes(), "mask: expected the data's shape ", data.sizes(),
                    ", found ", mask.sizes());
  TORCH_CHECK_VALUE(mask.device() == data.device(), "mask: expected the data's device ",
                    data.device(), ", found ", mask.device());
  TORCH_CHECK_VALUE(!mask.is_alias_of(data),
                    "mask: expected memory of its own, found that of data");
}

bool is_plain_memory(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.is_contiguous() && !tensor.is_neg() && !tensor._is_zerotensor();
}

/// Mask bytes of one piece, few enough to be in the L1 cache when the last tensor reads them.
constexpr size_t kPiece = 8192;

/// Applies the mask with the kernel. All tensors go piece by piece, so that the mask is read from
/// memory once.
void apply_bytes(std::span<const at::Tensor> tensors, std::span<const uint8_t> mask) {
  for (const at::Tensor& tensor : tensors) bump_version(tensor);
  for (size_t begin = 0; begin < mask.size(); begin += kPiece) {
    const auto piece = mask.subspan(begin, std::min(kPiece, mask.size() - begin));
    for (const at::Tensor& tensor : tensors) {
      auto* values = static_cast<char*>(tensor.mutable_data_ptr()) + begin * tensor.element_size();
      apply_mask(values, *dtype_of(tensor.scalar_type()), piece);
    }
  }
}

}  // namespace

bool internal::has_mask_bytes(const at::Tensor& mask) noexcept {
  const at::ScalarType type = mask.scalar_type();
  return type == at::kChar || type == at::kByte || type == at::kBool;
}

void internal::apply_mask_to_all(std::span<const at::Tensor> tensors, const at::Tensor& mask) {
  for (const at::Tensor& tensor : tensors) check(tensor, mask);
  const at::NoGradGuard no_grad;
  const bool plain = is_plain_memory(mask) && has_mask_bytes(mask) &&
                     std::ranges::all_of(tensors, is_plain_memory);
  if (plain) {
    const auto* bytes = static_cast<const uint8_t*>(mask.const_data_ptr());
    return apply_bytes(tensors, {bytes, static_cast<size_t>(mask.numel())});
  }
  const at::Tensor dropped = mask.eq(0);
  for (at::Tensor tensor : tensors) tensor.masked_fill_(dropped, 0);
}

void apply_mask_(const at::Tensor& data, const at::Tensor& mask) {
  apply_mask_to_all({&data, 1}, mask);
}

}  // namespace winnow
