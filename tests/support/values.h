// Test data: values of any prunable type, with distributions that are hard for a selection.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/core/matrix_view.h"

namespace winnow::testing {

enum class Fill {
  kNormal,
  kAllEqual,
  kHalfZeros,
  kSixteenLevels,
  kSorted,
  kDenormal,
  kSpecials,
  kRowScaled,
  kManyNans
};

inline constexpr Fill kAllFills[] = {Fill::kNormal,        Fill::kAllEqual,  Fill::kHalfZeros,
                                     Fill::kSixteenLevels, Fill::kSorted,    Fill::kDenormal,
                                     Fill::kSpecials,      Fill::kRowScaled, Fill::kManyNans};

inline constexpr DType kPrunable[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16};

/// Converts to F16 (rounded to nearest even) or BF16 (truncated). Tests need no particular
/// rounding.
inline uint16_t to_half(double x, DType dtype) {
  const float single = static_cast<float>(x);
  const auto bits = std::bit_cast<uint32_t>(single);
  if (dtype == DType::kBF16) return static_cast<uint16_t>(bits >> 16);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const double magnitude = std::fabs(static_cast<double>(single));
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 65520) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude == 0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int scale = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -scale)));
  const uint32_t rebased = scale == -24 ? 0 : static_cast<uint32_t>(scale + 24) << 10;
  return static_cast<uint16_t>(sign | (rebased + units));
}

/// Values in memory, with `misalignment` bytes before them and `row_stride` elements between rows.
class Values {
 public:
  Values(DType dtype, MatrixShape shape, size_t row_stride, size_t misalignment = 0)
      : dtype_(dtype), shape_(shape), row_stride_(row_stride), misalignment_(misalignment) {
    storage_.resize(misalignment + shape.rows * row_stride * size() + size());
  }

  /// Sets a NaN. Its sign and payload are taken from the bits of `noise`.
  void set_nan(size_t r, size_t c, uint64_t noise) {
    const bool is_bf16 = dtype_ == DType::kBF16;
    const uint64_t exponent = dtype_ == DType::kF64   ? 0x7ff0000000000000
                              : dtype_ == DType::kF32 ? 0x7f800000
                              : is_bf16               ? 0x7f80
                                                      : 0x7c00;
    uint64_t bits = exponent | noise | 1;
    std::memcpy(storage_.data() + misalignment_ + (r * row_stride_ + c) * size(), &bits, size());
  }

  void set(size_t r, size_t c, double x) {
    char* at = storage_.data() + misalignment_ + (r * row_stride_ + c) * size();
    if (dtype_ == DType::kF64) {
      std::memcpy(at, &x, 8);
    } else if (dtype_ == DType::kF32) {
      const auto single = static_cast<float>(x);
      std::memcpy(at, &single, 4);
    } else {
      const uint16_t half = to_half(x, dtype_);
      std::memcpy(at, &half, 2);
    }
  }

  MatrixView view() const { return {storage_.data() + misalignment_, dtype_, shape_, row_stride_}; }

 private:
  size_t size() const { return dtype_bits(dtype_) / 8; }

  DType dtype_;
  MatrixShape shape_;
  size_t row_stride_, misalignment_;
  std::vector<char> storage_;
};

inline void fill(Values& values, MatrixShape shape, Fill how, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  const double specials[] = {0.0, -0.0, NAN, -NAN, INFINITY, -INFINITY, 1.0, -1.0, 3e-39};
  for (size_t r = 0; r < shape.rows; ++r) {
    const double scale = how == Fill::kRowScaled ? std::exp(normal(random)) : 1;
    for (size_t c = 0; c < shape.cols; ++c) {
      double x = normal(random) * scale;
      if (how == Fill::kAllEqual) x = -2.5;
      if (how == Fill::kHalfZeros && random() % 2 == 0) x = random() % 2 == 0 ? 0.0 : -0.0;
      if (how == Fill::kSixteenLevels) x = static_cast<double>(random() % 16) - 8;
      if (how == Fill::kSorted) x = static_cast<double>(r * shape.cols + c) / 1024;
      if (how == Fill::kDenormal) x = x * 1e-40;
      if (how == Fill::kSpecials && random() % 3 == 0) x = specials[random() % std::size(specials)];
      values.set(r, c, x);
      const uint64_t noise = random() % 2 == 0 ? ~uint64_t{0} : random();
      if (how == Fill::kSpecials && random() % 4 == 0) values.set_nan(r, c, noise);
      if (how == Fill::kManyNans && random() % 2 == 0) values.set_nan(r, c, noise);
    }
  }
}

}  // namespace winnow::testing
