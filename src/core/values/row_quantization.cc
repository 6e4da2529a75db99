#include "winnow/core/row_quantization.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace winnow {
namespace {

constexpr float kMaxCode = 255;
constexpr size_t kTaskValues = size_t{1} << 16;

// Adding and taking away 1.5 * 2^23 rounds a float of less than 2^22 to an integer, half to even.
constexpr float kRounder = 0x1.8p23F;

// A row of floats at any address: reading it through a float* has no meaning if it is not aligned.
struct Row {
  const char* bytes;
  size_t size;  // in floats

  /// The float or the vector of floats that begins at float i.
  template <typename T = float>
  T at(size_t i) const noexcept {
    T values;
    std::memcpy(&values, bytes + i * sizeof(float), sizeof values);
    return values;
  }
};

/// The least and the greatest value of a row; both NaN if it holds one.
struct Range {
  float lo, hi;
};

/// Four at a time, by a vector type of the compiler's: it may not reorder a single chain.
Range range_of(const Row& row) noexcept {
  using Lanes [[gnu::vector_size(16)]] = float;
  constexpr size_t kLanes = sizeof(Lanes) / sizeof(float);
  const Lanes zero = {};
  Lanes lo = zero + row.at(0), hi = lo;
  auto is_nan = lo != lo;
  size_t i = 0;
  for (; i + kLanes <= row.size; i += kLanes) {
    const auto x = row.at<Lanes>(i);
    lo = x < lo ? x : lo;
    hi = x > hi ? x : hi;
    is_nan |= x != x;
  }
  Range range{row.at(0), row.at(0)};
  bool has_nan = false;
  const auto take = [&](float least, float greatest, bool nan) {
    range.lo = std::min(range.lo, least);
    range.hi = std::max(range.hi, greatest);
    has_nan = has_nan || nan;
  };
  for (size_t lane = 0; lane < kLanes; ++lane) take(lo[lane], hi[lane], is_nan[lane] != 0);
  for (; i < row.size; ++i) take(row.at(i), row.at(i), std::isnan(row.at(i)));
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  return has_nan ? Range{kNan, kNan} : range;
}

struct RowParameters {
  float scale, zero_point;
};

// If a row has (almost) one value: upstream's bound.
float usable(float scale) noexcept {
  return scale <= std::numeric_limits<float>::epsilon() ? 1.0F : scale;
}

RowParameters upstream_parameters(Range range) noexcept {
  float scale = usable((range.hi - range.lo) / kMaxCode);
  if (std::isnan(scale)) scale = 1;
  return {scale, -range.lo / scale};
}

/// Rounds a positive float up to 16 bits of mantissa. The carry goes into the exponent, as it
/// should.
float round_up_to_16_bits(float scale) noexcept {
  constexpr uint32_t kDropped = 0xFF;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(scale) + kDropped) & ~kDropped);
}

/// A scale that is not finite says that the row cannot be quantized.
RowParameters exact_parameters(Range range) noexcept {
  const float lo = range.lo > 0 ? 0 : range.lo, hi = range.hi < 0 ? 0 : range.hi;
  // In F64, where the difference of two floats does not overflow.
  const auto step = static_cast<float>((static_cast<double>(hi) - static_cast<double>(lo)) / 255);
  // 255 steps are at least the range and at least each end of it: one test for all that overflows.
  if (!std::isfinite(step * kMaxCode)) return {std::numeric_limits<float>::infinity(), 0};
  const float scale = round_up_to_16_bits(usable(step));
  return {scale, std::clamp(std::nearbyint(-lo / scale), 0.0F, kMaxCode)};
}

// Without __restrict, bytes may alias floats, and the loop stays a loop of single values.
void encode(const Row& row, RowParameters parameters, uint8_t* __restrict codes) noexcept {
  const float inverse = 1 / parameters.scale, zero_point = parameters.zero_point;
  for (size_t i = 0, count = row.size; i < count; ++i) {
    float code = row.at(i) * inverse + zero_point;
    code = code > 0 ? code : 0;  // NaN too
    code = code < kMaxCode ? code : kMaxCode;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>((code + kRounder) - kRounder));
  }
}

Row row_of(const MatrixView& weight, size_t row) noexcept {
  const size_t begin = row * weight.row_stride * sizeof(float);
  return {static_cast<const char*>(weight.data) + begin, weight.shape.cols};
}

/// Calls work(row) for every row, on the threads.
template <typename Work>
void for_each_row(MatrixShape shape, ParallelFor& threads, const Work& work) {
  const size_t rows = std::max(size_t{1}, kTaskValues / std::max(size_t{1}, shape.cols));
  threads.run((shape.rows + rows - 1) / rows, [&](size_t task) {
    const size_t end = std::min(shape.rows, (task + 1) * rows);
    for (size_t row = task * rows; row < end; ++row) work(row);
  });
}

Status check(const MatrixView& weight, size_t codes, size_t scales, size_t zero_points) {
  const auto invalid = [](const std::string& text) {
    return Status(ErrorCode::kInvalidArgument, text);
  };
  if (weight.dtype != DType::kF32) {
    return invalid("weight: expected dtype F32, found " + std::string(dtype_name(weight.dtype)));
  }
  const size_t rows = weight.shape.rows;
  if (codes != weight.numel() || scales != rows || zero_points != rows) {
    return invalid("expected " + std::to_string(weight.numel()) + " codes and " +
                   std::to_string(rows) + " scales and zero points, found " +
                   std::to_string(codes) + ", " + std::to_string(scales) + " and " +
                   std::to_string(zero_points));
  }
  return Status();
}

void keep_least(std::atomic<size_t>& least, size_t value) noexcept {
  size_t seen = least.load();
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

Status quantize_rows(const MatrixView& weight, ZeroPolicy policy, const QuantizedRows& out,
                     ParallelFor& threads) {
  const Status fits = check(weight, out.codes.size(), out.scales.size(), out.zero_points.size());
  if (!fits.ok()) return fits;
  const size_t cols = weight.shape.cols;
  std::atomic<size_t> bad_row{SIZE_MAX};
  for_each_row(weight.shape, threads, [&](size_t row) {
    const Row values = row_of(weight, row);
    RowParameters parameters{1, 0};
    if (cols > 0) {
      const Range range = range_of(values);
      parameters =
          policy == ZeroPolicy::kExact ? exact_parameters(range) : upstream_parameters(range);
    }
    if (policy == ZeroPolicy::kExact && !std::isfinite(parameters.scale)) keep_least(bad_row, row);
    out.scales[row] = parameters.scale;
    out.zero_points[row] = parameters.zero_point;
    encode(values, parameters, out.codes.data() + row * cols);
  });
  if (bad_row == SIZE_MAX) return Status();
  return {ErrorCode::kInvalidArgument,
          "weight: row " + std::to_string(bad_row) +
              " cannot be quantized: it holds NaN or infinite values, or values further apart than "
              "the largest float"};
}

Status requantize_rows(const MatrixView& weight, std::span<const float> scales,
                       std::span<const float> zero_points, std::span<uint8_t> codes,
                       ParallelFor& threads) {
  const Status fits = check(weight, codes.size(), scales.size(), zero_points.size());
  if (!fits.ok()) return fits;
  for_each_row(weight.shape, threads, [&](size_t row) {
    encode(row_of(weight, row), {scales[row], zero_points[row]},
           codes.data() + row * weight.shape.cols);
  });
  return Status();
}

}  // namespace winnow
