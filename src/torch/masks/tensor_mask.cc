#include "winnow/torch/tensor_mask.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "torch/masks/mask_targets.h"

namespace winnow {
using namespace internal;

namespace {

void check_one_kind_of_device(std::span<const TensorMask> targets) {
  const auto metas = std::ranges::count_if(targets, [](const TensorMask& target) {
    return target.data.defined() && target.data.is_meta();
  });
  TORCH_CHECK_VALUE(metas == 0 || metas == std::ssize(targets),
                    "targets: expected values for all data or for none, found ", metas, " of ",
                    targets.size(), " tensors on the meta device");
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

}  // namespace winnow
