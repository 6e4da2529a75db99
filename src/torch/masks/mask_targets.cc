#include "torch/masks/mask_targets.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "torch/support/at_parallel_for.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "torch/support/tensor_memory.h"

namespace winnow::internal {
namespace {

// What only LibTorch can say of a tensor; shapes and overlaps are core's to check.
void check_plain(const at::Tensor& tensor, const std::string& name) {
  TORCH_CHECK_VALUE(tensor.defined(), name, ": expected a tensor, found an undefined one");
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided, name, ": expected layout Strided, found ",
                    tensor.layout());
}

void check_data(const at::Tensor& data, const std::string& name) {
  check_plain(data, name);
  TORCH_CHECK_VALUE(is_prunable_type(data.scalar_type()), name,
                    ": expected dtype Float, Double, Half or BFloat16, found ", data.scalar_type());
}

void check_mask(const at::Tensor& mask, const at::Tensor& data, const std::string& name) {
  check_plain(mask, name);
  TORCH_CHECK_VALUE(mask.scalar_type() == at::kChar, name, ": expected dtype Char (int8), found ",
                    mask.scalar_type());
  TORCH_CHECK_VALUE(mask.device() == data.device(), name, ": expected the data's device ",
                    data.device(), ", found ", mask.device());
  // The kernels would write past the lazy operation, or into no memory at all.
  TORCH_CHECK_VALUE(!mask.is_neg() && !mask._is_zerotensor(), name,
                    ": expected memory of its own, found a lazy negative or zero tensor");
}

/// False if the values are nowhere: of meta tensors, and of tensors known to be zero.
bool has_values(const at::Tensor& tensor) {
  return tensor.has_storage() && !tensor.is_meta() && !tensor._is_zerotensor();
}

StridedTarget target_of(const TensorMask& target) {
  // Core compares devices as numbers and gives them no meaning; 0 is the CPU.
  const c10::Device device = target.data.device();
  return {
      .values = {.data = has_values(target.data) ? target.data.const_data_ptr() : nullptr,
                 .dtype = *dtype_of(target.data.scalar_type()),
                 .layout = layout_of(target.data)},
      .mask = {.data = has_values(target.mask)
                           ? static_cast<uint8_t*>(target.mask.mutable_data_ptr())
                           : nullptr,
               .layout = layout_of(target.mask)},
      .device = device.is_cpu() ? 0 : 1 + static_cast<int>(device.type()) * 256 + device.index()};
}

/// The targets as the core takes them, which refer to them. Throws what the tensors alone tell.
std::vector<StridedTarget> checked_targets(std::span<const TensorMask> targets) {
  std::vector<StridedTarget> result;
  result.reserve(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    check_data(targets[i].data, target_name(false, i, targets.size()));
    check_mask(targets[i].mask, targets[i].data, target_name(true, i, targets.size()));
    result.push_back(target_of(targets[i]));
  }
  return result;
}

/// Bumps the masks' versions unless nothing was written; throws if `status` is an error.
void finish(std::span<const TensorMask> targets, const Status& status) {
  // That code comes before the first write; others may come in the middle.
  if (status.code() != ErrorCode::kInvalidArgument) {
    for (const TensorMask& target : targets) {
      if (!target.mask.is_meta()) bump_version(target.mask);
    }
  }
  check_ok(status);
}

bool is_read_in_place(const TensorMask& target) {
  return target.data.is_cpu() && has_values(target.data);
}

/// On the CPU. A tensor of zeros without memory becomes one zero, many times.
at::Tensor on_cpu(const at::Tensor& data) {
  if (!data._is_zerotensor()) return data.detach().cpu();
  return at::zeros({}, at::TensorOptions(data.scalar_type())).expand(data.sizes());
}

}  // namespace

StridedLayout layout_of(const at::Tensor& tensor) {
  const at::IntArrayRef sizes = tensor.sizes(), strides = tensor.strides();
  return {{sizes.data(), sizes.size()}, {strides.data(), strides.size()}};
}

bool is_prunable_type(c10::ScalarType type) noexcept {
  const std::optional<DType> dtype = dtype_of(type);
  return dtype && is_prunable(*dtype);
}

void check_mask_data(const at::Tensor& data) { check_data(data, "data"); }

void check_mask_targets(std::span<const TensorMask> targets, const DataNormConfig& config) {
  check_ok(validate(config));
  check_ok(check_targets(checked_targets(targets)));
}

void write_masks(std::span<const TensorMask> targets, const WriteMasks& write) {
  const std::vector<StridedTarget> in_place = checked_targets(targets);
  // One on another device makes all go by copies: a budget needs all at once.
  if (!std::ranges::all_of(targets, is_read_in_place)) return write_masks_by_copy(targets, write);
  AtParallelFor threads;
  finish(targets, write(in_place, threads));
}

void write_masks_by_copy(std::span<const TensorMask> targets, const WriteMasks& write) {
  // On the originals, since copies have other strides and share no memory.
  check_ok(check_targets(checked_targets(targets)));
  std::vector<TensorMask> copies;  // keep the memory that the core's targets refer to
  std::vector<StridedTarget> on_copies;
  for (const TensorMask& target : targets) {
    if (target.data.is_meta()) continue;
    copies.push_back({on_cpu(target.data), at::empty(target.mask.sizes(), at::kChar)});
  }
  for (const TensorMask& copy : copies) on_copies.push_back(target_of(copy));
  AtParallelFor threads;
  const Status status = write(on_copies, threads);
  auto copy = copies.begin();
  for (const TensorMask& target : targets) {
    // Meta tensors have no copy, so `copy` must not advance for them.
    if (!status.ok() || target.data.is_meta()) continue;
    const InMode mode(target.mask);
    target.mask.copy_((copy++)->mask);
  }
  finish(targets, status);
}

}  // namespace winnow::internal
