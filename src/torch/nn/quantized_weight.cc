#include "winnow/torch/nn/quantized_weight.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "torch/inference_mode.h"

namespace winnow::nn {
namespace {

constexpr int64_t kMaxCode = 255;
// Values that are worked on at a time: 4 MiB in F32, of which there are up to four copies.
constexpr int64_t kChunk = int64_t{1} << 20;

/// Scales and zero points of some rows.
struct RowParameters {
  at::Tensor scales, zero_points;
};

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

/// Calls `use` for ranges of rows, at most kChunk values each where a row is no longer.
void for_chunks(int64_t rows, int64_t cols,
                const std::function<void(int64_t begin, int64_t count)>& use) {
  const int64_t step = std::max<int64_t>(1, kChunk / std::max<int64_t>(1, cols));
  for (int64_t begin = 0; begin < rows; begin += step) use(begin, std::min(step, rows - begin));
}

at::Tensor floats(const at::Tensor& weight, int64_t begin, int64_t count) {
  return weight.narrow(0, begin, count).to(at::kFloat);
}

/// The scales themselves, with 1 where a row has (almost) one value: upstream's bound.
at::Tensor usable(const at::Tensor& scales) {
  return scales.masked_fill(scales.le(std::numeric_limits<float>::epsilon()), 1.0);
}

RowParameters upstream_parameters(const at::Tensor& lo, const at::Tensor& hi) {
  at::Tensor scales = usable((hi - lo) / static_cast<double>(kMaxCode));
  scales.masked_fill_(scales.isnan(), 1.0);
  return {scales, lo.neg() / scales};
}

/// Rounds positive floats up to 16 bits of mantissa, so that products with integers of 8 bits are
/// floats. The carry goes into the exponent, as it should.
at::Tensor round_up_to_16_bits(const at::Tensor& scales) {
  constexpr int64_t kDropped = 0xFF;
  return scales.view(at::kInt).add(kDropped).bitwise_and_(~kDropped).view(at::kFloat);
}

/// `first_row`: that of lo[0] in the table.
RowParameters exact_parameters(at::Tensor lo, at::Tensor hi, int64_t first_row) {
  lo = lo.clamp_max(0);
  hi = hi.clamp_min(0);
  // In F64, where the difference of two floats does not overflow.
  const at::Tensor steps = ((hi.to(at::kDouble) - lo.to(at::kDouble)) / kMaxCode).to(at::kFloat);
  // 255 steps are at least the range and at least each end of it: one test for all that overflows.
  const at::Tensor bad = (steps * kMaxCode).isfinite().logical_not_().nonzero();
  TORCH_CHECK_VALUE(bad.numel() == 0, "cannot quantize row ",
                    first_row + (bad.numel() == 0 ? 0 : bad[0].item<int64_t>()),
                    ": it holds NaN or infinite values, or values further apart than the largest "
                    "float");
  const at::Tensor scales = round_up_to_16_bits(usable(steps));
  return {scales, (lo.neg() / scales).round_().clamp_(0, kMaxCode)};
}

RowParameters parameters_of(const at::Tensor& rows, ZeroPolicy policy, int64_t first_row) {
  const auto [lo, hi] = at::aminmax(rows, 1);
  return policy == ZeroPolicy::kExact ? exact_parameters(lo, hi, first_row)
                                      : upstream_parameters(lo, hi);
}

/// One operator after the other, in LibTorch's order, so that every rounding is its own. NaN is 0.
at::Tensor encode(const at::Tensor& rows, const RowParameters& parameters) {
  return (rows * parameters.scales.reciprocal().unsqueeze(1))
      .add_(parameters.zero_points.unsqueeze(1))
      .nan_to_num_(0.0)
      .round_()
      .clamp_(0, kMaxCode)
      .to(at::kByte);
}

void check_parameter(const at::Tensor& tensor, const char* name, int64_t rows) {
  TORCH_CHECK_VALUE(tensor.defined() && tensor.device().is_cpu() &&
                        tensor.layout() == at::kStrided && tensor.scalar_type() == at::kFloat &&
                        tensor.dim() == 1 && tensor.size(0) == rows,
                    "the ", name, " of a quantized weight with ", rows,
                    " rows have to be one Float a row, on the CPU; got ",
                    tensor.defined() ? c10::str(tensor.toString(), tensor.sizes()) : "none");
}

}  // namespace

QuantizedWeight QuantizedWeight::zeros(int64_t rows, int64_t cols) {
  TORCH_CHECK_VALUE(rows >= 0 && cols >= 0, "a table of ", rows, " by ", cols,
                    " has no meaning: both have to be at least 0");
  const OutOfInferenceMode normal;
  return {at::zeros({rows, cols}, at::kByte), at::ones({rows}, at::kFloat),
          at::zeros({rows}, at::kFloat)};
}

void QuantizedWeight::check() const {
  TORCH_CHECK_VALUE(codes.defined() && codes.device().is_cpu() && codes.layout() == at::kStrided &&
                        codes.scalar_type() == at::kByte && codes.dim() == 2,
                    "the codes of a quantized weight have to be [rows, cols] of Byte on the CPU; "
                    "got ",
                    codes.defined() ? c10::str(codes.toString(), codes.sizes()) : "none");
  check_parameter(scales, "scales", codes.size(0));
  check_parameter(zero_points, "zero points", codes.size(0));
}

QuantizedWeight quantize_rows(const at::Tensor& weight, ZeroPolicy policy) {
  check_weight(weight);
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  const int64_t rows = weight.size(0), cols = weight.size(1);
  QuantizedWeight out = QuantizedWeight::zeros(rows, cols);
  if (cols == 0) return out;
  for_chunks(rows, cols, [&](int64_t begin, int64_t count) {
    const at::Tensor chunk = floats(weight, begin, count);
    const RowParameters parameters = parameters_of(chunk, policy, begin);
    out.codes.narrow(0, begin, count).copy_(encode(chunk, parameters));
    out.scales.narrow(0, begin, count).copy_(parameters.scales);
    out.zero_points.narrow(0, begin, count).copy_(parameters.zero_points);
  });
  return out;
}

QuantizedWeight requantize_rows(const at::Tensor& weight, const QuantizedWeight& like) {
  check_weight(weight);
  like.check();
  TORCH_CHECK_VALUE(weight.sizes() == like.codes.sizes(), "a weight of shape ", weight.sizes(),
                    " cannot take the scales of one of shape ", like.codes.sizes());
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  const at::Tensor codes = at::empty(weight.sizes(), at::kByte);
  for_chunks(weight.size(0), weight.size(1), [&](int64_t begin, int64_t count) {
    const RowParameters parameters{like.scales.narrow(0, begin, count),
                                   like.zero_points.narrow(0, begin, count)};
    codes.narrow(0, begin, count).copy_(encode(floats(weight, begin, count), parameters));
  });
  return {codes, like.scales, like.zero_points};
}

at::Tensor dequantize_rows(const QuantizedWeight& weight) {
  weight.check();
  const at::NoGradGuard no_grad;
  return weight.codes
      .to(at::kFloat, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous)
      .sub_(weight.zero_points.unsqueeze(1))
      .mul_(weight.scales.unsqueeze(1));
}

}  // namespace winnow::nn
