#include "winnow/torch/tensor_mask.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "torch/at_parallel_for.h"
#include "torch/aten_mask.h"
#include "torch/check_status.h"
#include "torch/mask_checks.h"
#include "torch/pieced_mask.h"
#include "torch/tensor_matrix.h"
#include "torch/version_counter.h"
#include "winnow/core/mask.h"

namespace winnow {
namespace {

bool is_on_cpu(const TensorMask& target) { return target.data.is_cpu(); }

/// Where all data can be read in place: them and their masks, as the core takes them; else nothing.
std::vector<MaskTarget> targets_in_place(std::span<const TensorMask> targets) {
  std::vector<MaskTarget> in_place;
  in_place.reserve(targets.size());
  for (const TensorMask& target : targets) {
    const std::optional<MatrixView> view = view_in_place(target.data);
    if (!view) return {};
    in_place.push_back({*view, mask_bytes(target.mask)});
  }
  return in_place;
}

/// Under one budget. Preconditions: check_mask_targets accepted them; all are meta tensors, which
/// have no values to write, or none.
void write_masks(std::span<const TensorMask> targets, const DataNormConfig& config) {
  if (!targets.empty() && targets.front().data.is_meta()) return;
  for (const TensorMask& target : targets) bump_version(target.mask);
  if (!std::ranges::all_of(targets, is_on_cpu)) return write_aten_masks(targets, config);
  AtParallelFor threads;
  const std::vector<MaskTarget> in_place = targets_in_place(targets);
  if (in_place.size() < targets.size()) return write_pieced_masks(targets, config, threads);
  check_ok(compute_global_masks(in_place, config, threads).status());
}

void check_one_kind_of_device(std::span<const TensorMask> targets) {
  const auto metas = std::ranges::count_if(
      targets, [](const TensorMask& target) { return target.data.is_meta(); });
  TORCH_CHECK_VALUE(metas == 0 || metas == std::ssize(targets),
                    "targets: expected values for all data or for none, found ", metas, " of ",
                    targets.size(), " tensors on the meta device");
}

}  // namespace

at::Tensor compute_mask(const at::Tensor& data, const DataNormConfig& config) {
  check_mask_data(data);
  check_ok(validate(config));
  at::Tensor mask = at::empty(data.sizes(), at::TensorOptions(data.device()).dtype(at::kChar));
  const TensorMask target{data, mask};
  write_masks({&target, 1}, config);
  return mask;
}

void compute_mask_out(const at::Tensor& data, const DataNormConfig& config,
                      const at::Tensor& mask) {
  const TensorMask target{data, mask};
  compute_masks_out({&target, 1}, config);
}

void compute_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config) {
  check_mask_targets(targets, config);
  for (const TensorMask& target : targets) write_masks({&target, 1}, config);
}

void compute_global_masks_out(std::span<const TensorMask> targets, const DataNormConfig& config) {
  check_mask_targets(targets, config);
  check_one_kind_of_device(targets);
  write_masks(targets, config);
}

}  // namespace winnow
