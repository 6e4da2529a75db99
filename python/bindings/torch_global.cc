// One budget over several tensors: torch.ops.winnow.compute_global_masks_.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "data_norm_arguments.h"
#include "tensor_checks.h"
#include "torch_parallel_for.h"
#include "winnow/core/mask.h"

namespace winnow::python {
namespace {

using torch::stable::Tensor;

MatrixShape folded_shape(const Tensor& tensor) {
  const auto sizes = tensor.sizes();
  const Result<MatrixShape> shape = fold_shape(std::vector<uint64_t>(sizes.begin(), sizes.end()));
  check_ok(shape.status());
  return *shape;
}

void compute_global_masks_(std::vector<Tensor> masks, std::vector<Tensor> data, double level,
                           std::vector<int64_t> block, std::optional<int64_t> zeros,
                           std::string norm) {
  check(data.size() == masks.size(), "expected as many data as masks, found ", data.size(), " for ",
        masks.size());
  const DataNormConfig config = config_of(level, block, zeros, norm);
  std::vector<Tensor> rows;  // which the targets point into
  std::vector<MaskTarget> targets;
  for (size_t i = 0; i < masks.size(); ++i) {
    const DType dtype = values_of(data[i], {"data", i}).dtype;
    check_mask(masks[i], data[i], {"masks", i});
    rows.push_back(data[i].is_contiguous() ? data[i] : torch::stable::contiguous(data[i]));
    targets.push_back({contiguous_view(rows.back().const_data_ptr(), dtype, folded_shape(data[i])),
                       mask_bytes(masks[i])});
  }
  check_apart(masks, data);
  TorchParallelFor threads;
  check_ok(compute_global_masks(targets, config, threads).status());
}

}  // namespace
}  // namespace winnow::python

STABLE_TORCH_LIBRARY_FRAGMENT(winnow, m) {
  m.def(
      "compute_global_masks_(Tensor(a!)[] masks, Tensor[] data, float sparsity_level, "
      "int[] sparse_block_shape, int? zeros_per_block, str norm) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(winnow, CPU, m) {
  m.impl("compute_global_masks_", TORCH_BOX(&winnow::python::compute_global_masks_));
}
