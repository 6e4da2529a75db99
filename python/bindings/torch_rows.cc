// torch.ops.winnow.quantize_rows and requantize_rows: see core/row_quantization.h for the formulas.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>

#include "tensor_checks.h"
#include "torch_parallel_for.h"
#include "winnow/core/row_quantization.h"

namespace winnow::python {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// The values of a weight, whose rows are copied together unless each is contiguous.
struct Weight {
  explicit Weight(const Tensor& tensor) : rows(tensor) {
    const StridedView values = values_of(tensor, "weight");
    check(values.dtype == DType::kF32, "weight: expected dtype float32");
    check(tensor.dim() == 2, "weight: expected 2 dimensions, found ", tensor.dim());
    const bool in_place =
        (tensor.size(1) == 1 || tensor.stride(1) == 1) && tensor.stride(0) >= tensor.size(1);
    if (!in_place) rows = torch::stable::contiguous(tensor);
  }

  MatrixView view() const {
    const MatrixShape shape{static_cast<size_t>(rows.size(0)), static_cast<size_t>(rows.size(1))};
    return {rows.const_data_ptr(), DType::kF32, shape, static_cast<size_t>(rows.stride(0))};
  }

  Tensor rows;
};

void check_parameter(const Tensor& tensor, const char* name) {
  check(values_of(tensor, name).dtype == DType::kF32 && tensor.dim() == 1 && tensor.is_contiguous(),
        name, ": expected float32 of 1 dimension, contiguous");
}

std::tuple<Tensor, Tensor, Tensor> quantize_rows(Tensor weight, std::string zero_policy) {
  check(zero_policy == "exact" || zero_policy == "upstream",
        "zero_policy: expected exact or upstream, found ", zero_policy);
  const Weight source(weight);
  const std::vector<int64_t> rows = {weight.size(0)};
  const Tensor codes = torch::stable::new_empty(weight, weight.sizes(), ScalarType::Byte);
  const Tensor scales = torch::stable::new_empty(weight, rows);
  const Tensor zero_points = torch::stable::new_empty(weight, rows);
  TorchParallelFor threads;
  check_ok(winnow::quantize_rows(
      source.view(), zero_policy == "exact" ? ZeroPolicy::kExact : ZeroPolicy::kUpstream,
      {span_of<uint8_t>(codes), span_of<float>(scales), span_of<float>(zero_points)}, threads));
  return {codes, scales, zero_points};
}

Tensor requantize_rows(Tensor weight, Tensor scales, Tensor zero_points) {
  const Weight source(weight);
  check_parameter(scales, "scales");
  check_parameter(zero_points, "zero_points");
  const Tensor codes = torch::stable::new_empty(weight, weight.sizes(), ScalarType::Byte);
  TorchParallelFor threads;
  check_ok(winnow::requantize_rows(source.view(), span_of<float>(scales),
                                   span_of<float>(zero_points), span_of<uint8_t>(codes), threads));
  return codes;
}

}  // namespace
}  // namespace winnow::python

STABLE_TORCH_LIBRARY_FRAGMENT(winnow, m) {
  m.def("quantize_rows(Tensor weight, str zero_policy) -> (Tensor, Tensor, Tensor)");
  m.def("requantize_rows(Tensor weight, Tensor scales, Tensor zero_points) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(winnow, CPU, m) {
  m.impl("quantize_rows", TORCH_BOX(&winnow::python::quantize_rows));
  m.impl("requantize_rows", TORCH_BOX(&winnow::python::requantize_rows));
}
