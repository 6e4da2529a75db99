#include "winnow/torch/nn/quantized_weight.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "torch/support/at_parallel_for.h"
#include "torch/support/inference_mode.h"
#include "torch/support/tensor_memory.h"
#include "winnow/core/row_quantization.h"

namespace winnow::nn {
using namespace internal;

namespace {

// Values that are converted to F32 at a time: 4 MiB.
constexpr int64_t kChunk = int64_t{1} << 20;

void check_weight(const at::Tensor& weight) {
  TORCH_CHECK_VALUE(weight.defined(), "cannot quantize an undefined weight");
  const bool plain = weight.layout() == at::kStrided && !weight.is_quantized() &&
                     !weight.is_nested() && weight.device().is_cpu();
  TORCH_CHECK_VALUE(plain, "cannot quantize a ", weight.toString(), " on ", weight.device(),
                    ": pass a dense weight on the CPU");
  TORCH_CHECK_VALUE(at::isFloatingType(weight.scalar_type()), "cannot quantize a weight of ",
                    weight.scalar_type(), ": it has to be of a floating dtype");
  TORCH_CHECK_VALUE(weight.dim() == 2, "cannot quantize a weight of shape ", weight.sizes(),
                    ": it has to be [rows, cols]");
}

template <typename T>
std::span<T> values_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<T>(), static_cast<size_t>(tensor.numel())};
}

MatrixView view_of(const at::Tensor& rows) {
  return contiguous_view(rows.const_data_ptr(), DType::kF32,
                         {static_cast<size_t>(rows.size(0)), static_cast<size_t>(rows.size(1))});
}

/// Calls use(rows, begin) for the weight's rows as contiguous F32: all at once if they are that in
/// memory, otherwise in chunks, so that no F32 copy of the whole table is made.
template <typename Use>
void for_floats(const at::Tensor& weight, const Use& use) {
  const bool plain = weight.scalar_type() == at::kFloat && is_plain_memory(weight);
  const int64_t rows = weight.size(0), cols = std::max<int64_t>(1, weight.size(1));
  // At least one row, however long; at least one column, for the division.
  const int64_t step = plain ? std::max<int64_t>(1, rows) : std::max<int64_t>(1, kChunk / cols);
  for (int64_t begin = 0; begin < rows; begin += step) {
    const at::Tensor chunk = weight.narrow(0, begin, std::min(step, rows - begin));
    use(plain ? chunk : chunk.to(at::kFloat).contiguous().resolve_neg(), begin);
  }
}

QuantizedWeight narrow(const QuantizedWeight& table, int64_t begin, int64_t rows) {
  return {table.codes.narrow(0, begin, rows), table.scales.narrow(0, begin, rows),
          table.zero_points.narrow(0, begin, rows)};
}

Status quantize_into(const at::Tensor& rows, ZeroPolicy policy, const QuantizedWeight& out) {
  AtParallelFor threads;
  return winnow::quantize_rows(view_of(rows), policy,
                               {.codes = values_of<uint8_t>(out.codes),
                                .scales = values_of<float>(out.scales),
                                .zero_points = values_of<float>(out.zero_points)},
                               threads);
}

/// Returns the first of `rows` that cannot be quantized. Precondition: there is one. The status of
/// core has a row only in its message, counted within the chunk.
int64_t first_bad_row(const at::Tensor& rows, ZeroPolicy policy, const QuantizedWeight& out) {
  int64_t row = 0;
  while (quantize_into(rows.narrow(0, row, 1), policy, narrow(out, row, 1)).ok()) ++row;
  return row;
}

void check_parameter(const at::Tensor& tensor, const char* name, int64_t rows) {
  TORCH_CHECK_VALUE(tensor.defined() && tensor.device().is_cpu() &&
                        tensor.layout() == at::kStrided && tensor.scalar_type() == at::kFloat &&
                        tensor.dim() == 1 && tensor.size(0) == rows,
                    name, ": expected one Float for each of ", rows, " rows on the CPU, found ",
                    tensor.defined() ? c10::str(tensor.toString(), tensor.sizes()) : "none");
}

}  // namespace

QuantizedWeight QuantizedWeight::zeros(int64_t rows, int64_t cols) {
  TORCH_CHECK_VALUE(rows >= 0 && cols >= 0, "a table of ", rows, " by ", cols,
                    " has no meaning: both have to be at least 0");
  const InMode normal(/*inference=*/false);
  return {at::zeros({rows, cols}, at::kByte), at::ones({rows}, at::kFloat),
          at::zeros({rows}, at::kFloat)};
}

void QuantizedWeight::check() const {
  TORCH_CHECK_VALUE(codes.defined() && codes.device().is_cpu() && codes.layout() == at::kStrided &&
                        codes.scalar_type() == at::kByte && codes.dim() == 2,
                    "codes: expected [rows, cols] of Byte on the CPU, found ",
                    codes.defined() ? c10::str(codes.toString(), codes.sizes()) : "none");
  check_parameter(scales, "scales", codes.size(0));
  check_parameter(zero_points, "zero_points", codes.size(0));
}

QuantizedWeight quantize_rows(const at::Tensor& weight, ZeroPolicy policy) {
  check_weight(weight);
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  QuantizedWeight table = QuantizedWeight::zeros(weight.size(0), weight.size(1));
  for_floats(weight.detach(), [&](const at::Tensor& rows, int64_t begin) {
    const QuantizedWeight out = narrow(table, begin, rows.size(0));
    // The row is searched only after an error, which is rare.
    if (quantize_into(rows, policy, out).ok()) return;
    TORCH_CHECK_VALUE(false, "cannot quantize row ", begin + first_bad_row(rows, policy, out),
                      ": it holds NaN or infinite values, or values further apart than the largest "
                      "float");
  });
  return table;
}

QuantizedWeight requantize_rows(const at::Tensor& weight, const QuantizedWeight& like) {
  check_weight(weight);
  like.check();
  TORCH_CHECK_VALUE(weight.sizes() == like.codes.sizes(), "a weight of shape ", weight.sizes(),
                    " cannot take the scales of one of shape ", like.codes.sizes());
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  // Scales are shared and not copied: they are those of `like` itself.
  const at::Tensor codes = at::empty(weight.sizes(), at::kByte);
  const at::Tensor scales = like.scales.contiguous(), zero_points = like.zero_points.contiguous();
  AtParallelFor threads;
  for_floats(weight.detach(), [&](const at::Tensor& rows, int64_t begin) {
    const int64_t count = rows.size(0);
    const Status status =
        winnow::requantize_rows(view_of(rows), values_of<float>(scales.narrow(0, begin, count)),
                                values_of<float>(zero_points.narrow(0, begin, count)),
                                values_of<uint8_t>(codes.narrow(0, begin, count)), threads);
    // Dtype and sizes fit, and any value can be encoded.
    TORCH_INTERNAL_ASSERT(status.ok(), status.message());
  });
  return {codes, like.scales, like.zero_points};
}

at::Tensor dequantize_rows(const QuantizedWeight& weight) {
  weight.check();
  const at::NoGradGuard no_grad;
  // In place on one F32 copy: a result of each operator would take the table's memory again.
  return weight.codes
      .to(at::kFloat, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous)
      .sub_(weight.zero_points.unsqueeze(1))
      .mul_(weight.scales.unsqueeze(1));
}

}  // namespace winnow::nn
