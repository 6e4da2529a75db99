#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/eq.h>

#include "torch/dtype_map.h"
#include "torch/mask_checks.h"
#include "torch/version_counter.h"
#include "winnow/core/values.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
namespace {

void check(const at::Tensor& data, const at::Tensor& mask) {
  check_mask_data(data);
  TORCH_CHECK_VALUE(at::has_internal_overlap(data) != at::MemOverlap::Yes,
                    "data: expected each value in a place of its own, found strides ",
                    data.strides(), " for sizes ", data.sizes());
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

/// Whether the mask is dropped exactly where its byte is 0.
bool has_mask_bytes(const at::Tensor& mask) {
  const at::ScalarType type = mask.scalar_type();
  return type == at::kChar || type == at::kByte || type == at::kBool;
}

}  // namespace

void apply_mask_(const at::Tensor& data, const at::Tensor& mask) {
  check(data, mask);
  const at::NoGradGuard no_grad;
  if (!is_plain_memory(data) || !is_plain_memory(mask) || !has_mask_bytes(mask)) {
    data.masked_fill_(mask.eq(0), 0);
    return;
  }
  bump_version(data);
  const auto* bytes = static_cast<const uint8_t*>(mask.const_data_ptr());
  apply_mask(data.mutable_data_ptr(), *dtype_of(data.scalar_type()),
             {bytes, static_cast<size_t>(mask.numel())});
}

}  // namespace winnow
