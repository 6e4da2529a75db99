#include "winnow/core/mask.h"

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "core/masks/mask_job.h"
#include "core/selection/budget.h"
#include "core/views/block_matrix.h"

namespace winnow {
namespace {

// Below this many values a second thread costs more than it gives.
constexpr uint64_t kMinParallelValues = 1 << 20;

Status check_target(const MaskTarget& target) {
  WINNOW_RETURN_IF_ERROR(check_prunable(target.values.dtype, "data"));
  if (target.values.shape.rows > 1 && target.values.row_stride < target.values.shape.cols) {
    return {ErrorCode::kInvalidArgument,
            "row_stride: expected at least the " + std::to_string(target.values.shape.cols) +
                " columns, found " + std::to_string(target.values.row_stride)};
  }
  return check_mask_size(target.mask.size(), target.values.numel());
}

template <typename Key>
MaskStats write_masks(std::span<const core::BlockMatrix> matrices,
                      std::span<const MaskTarget> targets, const DataNormConfig& config,
                      const kernels::KernelTable& table, ParallelFor& threads) {
  uint64_t blocks = 0, values = 0;
  for (const core::BlockMatrix& matrix : matrices) {
    blocks += matrix.blocks();
    values += matrix.values().numel();
  }
  SerialFor serial;
  core::MaskJob<Key> job(matrices, targets, table, values < kMinParallelValues ? serial : threads);
  const core::Budget budget(config, blocks);
  if (budget.needs_search()) return job.run(budget.selected);
  MaskStats stats = job.run_uniform(budget.keeps_all());
  stats.selected_blocks = budget.selected;
  return stats;
}

}  // namespace

Result<MaskStats> compute_mask(const MatrixView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask, ParallelFor& threads) {
  const MaskTarget target{values, mask};
  return compute_global_masks({&target, 1}, config, threads);
}

Result<MaskStats> compute_mask(const MatrixView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask) {
  SerialFor serial;
  return compute_mask(values, config, mask, serial);
}

Result<MaskStats> compute_global_masks(std::span<const MaskTarget> targets,
                                       const DataNormConfig& config, ParallelFor& threads) try {
  WINNOW_RETURN_IF_ERROR(validate(config));
  for (const MaskTarget& target : targets) WINNOW_RETURN_IF_ERROR(check_target(target));
  WINNOW_ASSIGN_OR_RETURN(const SimdLevel level, active_simd_level());
  const kernels::KernelTable& table = kernels::kernel_table(level);
  std::vector<core::BlockMatrix> matrices;
  matrices.reserve(targets.size());
  for (const MaskTarget& target : targets) matrices.emplace_back(target.values, config, table);
  const bool wide = std::any_of(targets.begin(), targets.end(), [](const MaskTarget& target) {
    return target.values.dtype == DType::kF64;
  });
  return wide ? write_masks<int64_t>(matrices, targets, config, table, threads)
              : write_masks<int32_t>(matrices, targets, config, table, threads);
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

}  // namespace winnow
