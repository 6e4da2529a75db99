// The operators torch.ops.winnow.*, through torch's stable ABI: one binary serves every torch from
// 2.10 on. Kernels are those of the CPU; torchwinnow/_ops.py adds what shapes alone decide (fake
// tensors), other devices, and autograd's bookkeeping.
//
// torch lets go of the GIL around every kernel. Exceptions pass through it into Python:
// std::invalid_argument is ValueError there, std::bad_alloc MemoryError.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "tensor_checks.h"
#include "torch_parallel_for.h"
#include "winnow/core/mask.h"
#include "winnow/core/settings.h"
#include "winnow/core/values.h"

namespace winnow::python {
namespace {

using torch::stable::Tensor;

/// std::invalid_argument for settings that are out of their range.
DataNormConfig config_of(double level, std::span<const int64_t> block, std::optional<int64_t> zeros,
                         const std::string& norm) {
  check(block.size() == 2, "sparse_block_shape: expected 2 sides, found ", block.size());
  const Result<Norm> known = norm_from_name(norm);
  check_ok(known.status());
  const auto config = data_norm_config(level, block[0], block[1], zeros, *known);
  check_ok(config.status());
  return *config;
}

Tensor compute_mask(Tensor data, double level, std::vector<int64_t> block,
                    std::optional<int64_t> zeros, std::string norm) {
  const StridedView values = values_of(data, "data");
  const DataNormConfig config = config_of(level, block, zeros, norm);
  Tensor mask = torch::stable::new_empty(data, data.sizes(), torch::headeronly::ScalarType::Char);
  TorchParallelFor threads;
  check_ok(winnow::compute_mask(values, config, span_of<uint8_t>(mask), threads).status());
  return mask;
}

void compute_masks_(std::vector<Tensor> masks, std::vector<Tensor> data, std::vector<double> levels,
                    std::vector<int64_t> blocks, std::vector<int64_t> zeros, std::string norm) {
  const size_t count = masks.size();
  check(data.size() == count && levels.size() == count && blocks.size() == 2 * count &&
            zeros.size() == count,
        "expected as many data, levels, pairs of block sides and zeros as there are masks, found ",
        data.size(), ", ", levels.size(), ", ", blocks.size() / 2.0, " and ", zeros.size(), " for ",
        count);
  std::vector<DataNormConfig> configs;
  for (size_t i = 0; i < count; ++i) {
    std::optional<int64_t> some;
    if (zeros[i] != -1) some = zeros[i];
    configs.push_back(config_of(levels[i], std::span(blocks).subspan(2 * i, 2), some, norm));
  }
  const std::vector<StridedTarget> targets = targets_of(data, masks);
  TorchParallelFor threads;
  check_ok(compute_masks(targets, configs, threads));
}

void compute_global_masks_(std::vector<Tensor> masks, std::vector<Tensor> data, double level,
                           std::vector<int64_t> block, std::optional<int64_t> zeros,
                           std::string norm) {
  check(data.size() == masks.size(), "expected as many data as masks, found ", data.size(), " for ",
        masks.size());
  const DataNormConfig config = config_of(level, block, zeros, norm);
  const std::vector<StridedTarget> targets = targets_of(data, masks);
  TorchParallelFor threads;
  check_ok(compute_global_masks(targets, config, threads).status());
}

void prune_(Tensor data, double level, std::vector<int64_t> block, std::optional<int64_t> zeros,
            std::string norm) {
  const StridedView values = values_of(data, "data");
  check_ok(check_distinct_places(values.layout));
  const DataNormConfig config = config_of(level, block, zeros, norm);
  const auto count = static_cast<size_t>(data.numel());
  const std::unique_ptr<uint8_t[]> mask(new uint8_t[count]);
  TorchParallelFor threads;
  check_ok(winnow::compute_mask(values, config, {mask.get(), count}, threads).status());
  apply_mask(data.mutable_data_ptr(), values.dtype, values.layout, {mask.get(), count});
}

void apply_mask_(Tensor data, Tensor mask) {
  const std::vector<StridedTarget> targets = targets_of({&data, 1}, {&mask, 1});
  check_ok(check_distinct_places(targets[0].values.layout));
  check_ok(check_targets(targets));
  apply_mask(data.mutable_data_ptr(), targets[0].values.dtype, targets[0].values.layout,
             span_of<uint8_t>(mask));
}

}  // namespace
}  // namespace winnow::python

STABLE_TORCH_LIBRARY(winnow, m) {
  m.def(
      "compute_mask(Tensor data, float sparsity_level, int[] sparse_block_shape, "
      "int? zeros_per_block, str norm) -> Tensor");
  m.def(
      "compute_masks_(Tensor(a!)[] masks, Tensor[] data, float[] sparsity_levels, "
      "int[] sparse_block_shapes, int[] zeros_per_block, str norm) -> ()");
  m.def(
      "compute_global_masks_(Tensor(a!)[] masks, Tensor[] data, float sparsity_level, "
      "int[] sparse_block_shape, int? zeros_per_block, str norm) -> ()");
  m.def(
      "prune_(Tensor(a!) data, float sparsity_level, int[] sparse_block_shape, "
      "int? zeros_per_block, str norm) -> ()");
  m.def("apply_mask_(Tensor(a!) data, Tensor mask) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(winnow, CPU, m) {
  m.impl("compute_mask", TORCH_BOX(&winnow::python::compute_mask));
  m.impl("compute_masks_", TORCH_BOX(&winnow::python::compute_masks_));
  m.impl("compute_global_masks_", TORCH_BOX(&winnow::python::compute_global_masks_));
  m.impl("prune_", TORCH_BOX(&winnow::python::prune_));
  m.impl("apply_mask_", TORCH_BOX(&winnow::python::apply_mask_));
}
