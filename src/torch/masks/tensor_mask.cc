#include "winnow/torch/tensor_mask.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>

#include <algorithm>

#include "torch/masks/mask_targets.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"
#include "winnow/core/values.h"

namespace winnow {
using namespace internal;

namespace {

// A budget over some of the data would be another one than was asked for.
void check_one_kind_of_device(std::span<const TensorMask> targets) {
  const auto metas = std::ranges::count_if(targets, [](const TensorMask& target) {
    return target.data.defined() && target.data.is_meta();
  });
  TORCH_CHECK_VALUE(metas == 0 || metas == std::ssize(targets),
                    "targets: expected values for all data or for none, found ", metas, " of ",
                    targets.size(), " tensors on the meta device");
}

void check_applicable(const at::Tensor& data, const at::Tensor& mask) {
  check_mask_data(data);
  // An expanded tensor holds one value in many places: which mask would apply?
  check_ok(check_distinct_places(layout_of(data)));
  TORCH_CHECK_VALUE(mask.defined() && mask.layout() == at::kStrided && !mask.is_quantized(),
                    "mask: expected a strided tensor, found ", mask.toString());
  TORCH_CHECK_VALUE(mask.sizes() == data.sizes(), "mask: expected the data's shape ", data.sizes(),
                    ", found ", mask.sizes());
  TORCH_CHECK_VALUE(mask.device() == data.device(), "mask: expected the data's device ",
                    data.device(), ", found ", mask.device());
  // Zeros written into the data would be read as mask.
  TORCH_CHECK_VALUE(!mask.is_alias_of(data),
                    "mask: expected memory of its own, found that of data");
}

/// Mask bytes of one piece, few enough to be in the L1 cache when the last tensor reads them.
constexpr size_t kPiece = 8192;

/// Applies the mask with the kernel. All tensors go piece by piece, so that the mask is read from
/// memory once.
void apply_bytes(std::span<const at::Tensor> tensors, std::span<const uint8_t> mask) {
  // The kernel goes around ATen, so autograd has to be told.
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

at::Tensor compute_mask(const at::Tensor& data, const DataNormConfig& config) {
  check_mask_data(data);
  const at::Tensor mask =
      at::empty(data.sizes(), at::TensorOptions(data.device()).dtype(at::kChar));
  compute_mask_out(data, config, mask);
  return mask;
}

void compute_mask_out(const at::Tensor& data, const DataNormConfig& config,
                      const at::Tensor& mask) {
  const TensorMask target{data, mask};
  compute_masks_out({&target, 1}, config);
}

void compute_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config) {
  write_masks(targets, [&](std::span<const StridedTarget> on_cpu, ParallelFor& threads) {
    return compute_masks(on_cpu, {&config, 1}, threads);
  });
}

void compute_global_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config) {
  check_one_kind_of_device(targets);
  write_masks(targets, [&](std::span<const StridedTarget> on_cpu, ParallelFor& threads) {
    return compute_global_masks(on_cpu, config, threads).status();
  });
}

bool internal::has_mask_bytes(const at::Tensor& mask) noexcept {
  const at::ScalarType type = mask.scalar_type();
  return type == at::kChar || type == at::kByte || type == at::kBool;
}

void internal::apply_mask_to_all(std::span<const at::Tensor> tensors, const at::Tensor& mask) {
  for (const at::Tensor& tensor : tensors) check_applicable(tensor, mask);
  const at::NoGradGuard no_grad;
  const bool plain = is_plain_memory(mask) && has_mask_bytes(mask) &&
                     std::ranges::all_of(tensors, is_plain_memory);
  if (plain) {
    const auto* bytes = static_cast<const uint8_t*>(mask.const_data_ptr());
    return apply_bytes(tensors, {bytes, static_cast<size_t>(mask.numel())});
  }
  // Any other layout or device: slower, but by LibTorch's own means.
  const at::Tensor dropped = mask.eq(0);
  for (at::Tensor tensor : tensors) tensor.masked_fill_(dropped, 0);
}

void apply_mask_(const at::Tensor& data, const at::Tensor& mask) {
  apply_mask_to_all({&data, 1}, mask);
}

}  // namespace winnow
