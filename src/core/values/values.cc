#include "winnow/core/values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float_format.h"
#include "core/views/strided_matrix.h"
#include "kernels/kernel_table.h"

namespace winnow {
namespace {

constexpr double kSumScale = 0x1p-64;  // fewer than 2^64 finite values, scaled, sum to a finite one

// Every SIMD level gives the same bytes, so an unavailable level is not a reason to stop
// here.
const kernels::KernelTable& active_table() noexcept {
  const Result<SimdLevel> level = active_simd_level();
  return kernels::kernel_table(level.ok() ? *level : SimdLevel::kScalar);
}

}  // namespace

void apply_mask(void* values, DType dtype, std::span<const uint8_t> mask) noexcept {
  active_table().zero_dropped(values, dtype_bits(dtype) / 8, mask.data(), mask.size());
}

void apply_mask(void* values, DType dtype, const StridedLayout& layout,
                std::span<const uint8_t> mask) noexcept {
  if (layout.is_contiguous()) return apply_mask(values, dtype, mask);
  const auto size = static_cast<int64_t>(dtype_bits(dtype) / 8);
  const core::StridedMatrix matrix(layout);
  const MatrixShape shape = matrix.shape();
  const auto zero_run = [&](int64_t first, int64_t stride, size_t count, size_t row, size_t col) {
    const uint8_t* keep = mask.data() + row * shape.cols + col;
    char* value = static_cast<char*>(values) + first * size;
    for (; count > 0; --count, value += stride * size) {
      if (*keep++ == 0) std::memset(value, 0, static_cast<size_t>(size));  // all bits 0 is +0.0
    }
  };
  matrix.for_each_run({0, shape.rows, 0, shape.cols}, zero_run);
}

std::optional<uint64_t> find_nan(const void* values, DType dtype, uint64_t count) noexcept {
  return with_format(dtype, [&](auto format) -> std::optional<uint64_t> {
    // Pieces are tested as a whole first: that loop has no exit and runs as vectors.
    constexpr uint64_t kPiece = 1024;
    for (uint64_t begin = 0; begin < count; begin += kPiece) {
      const uint64_t end = std::min(count, begin + kPiece);
      unsigned any = 0;
      for (uint64_t i = begin; i < end; ++i)
        any |= std::isnan(load_value(format, values, i)) ? 1u : 0u;
      if (any == 0) continue;
      for (uint64_t i = begin; i < end; ++i) {
        if (std::isnan(load_value(format, values, i))) return i;
      }
    }
    return std::nullopt;
  });
}

std::optional<uint64_t> find_mask_violation(const void* original, const void* pruned, DType dtype,
                                            std::span<const uint8_t> mask) noexcept {
  const size_t size = dtype_bits(dtype) / 8;
  const auto* before = static_cast<const char*>(original);
  const auto* after = static_cast<const char*>(pruned);
  constexpr char kZero[8] = {};
  for (size_t i = 0; i < mask.size(); ++i) {
    const char* expected = mask[i] == 0 ? kZero : before + i * size;
    if (std::memcmp(after + i * size, expected, size) != 0) return i;
  }
  return std::nullopt;
}

ValueStats value_stats(const void* values, DType dtype, uint64_t count) noexcept {
  return with_format(dtype, [&](auto format) {
    ValueStats stats;
    double min = std::numeric_limits<double>::infinity(), max = -min, sum = 0, scaled_sum = 0;
    for (uint64_t i = 0; i < count; ++i) {
      const double x = load_value(format, values, i);
      stats.zeros += x == 0;
      stats.nans += std::isnan(x);
      stats.infinities += std::isinf(x);
      if (std::isfinite(x)) {
        sum += std::abs(x);
        scaled_sum += std::abs(x) * kSumScale;
      }
      min = x < min ? x : min;
      max = x > max ? x : max;
    }
    const uint64_t finite = count - stats.nans - stats.infinities;
    if (count > stats.nans) stats.min = min, stats.max = max;
    if (finite > 0) stats.mean_abs = sum / static_cast<double>(finite);
    // Only F64 gets here. Its sum is so large that what is lost of the scaled values is below one
    // rounding of it.
    if (std::isinf(sum)) {
      stats.mean_abs = std::min(scaled_sum / static_cast<double>(finite) / kSumScale,
                                std::numeric_limits<double>::max());  // roundings may add up
    }
    return stats;
  });
}

double value_at(const void* values, DType dtype, uint64_t index) noexcept {
  return with_format(dtype, [&](auto format) { return load_value(format, values, index); });
}

}  // namespace winnow
