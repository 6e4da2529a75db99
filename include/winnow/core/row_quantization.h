// Quantizes rows of floats to bytes: each row has a scale and a zero point, each value one code.
//
// For a row x with codes c, scale s and zero point z, in F32, rounded after each operator:
//
//   c[j]     = clamp(round_half_even(x[j] * (1 / s) + z), 0, 255)      a NaN becomes 0
//   value[j] = (c[j] - z) * s
//
// These are the formulas of torch's `float_qparams` scheme. The result is byte-identical for any
// number of threads. Thread-safety: the functions use nothing but their arguments.
#pragma once

#include <cstdint>
#include <span>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// How the zero point of a row is chosen.
enum class ZeroPolicy : uint8_t {
  /// One code stands for exactly 0, so pruned values stay 0. With lo = min(0, x...) and
  /// hi = max(0, x...): s = (hi - lo) / 255, or 1 if that is at most 2^-23, rounded up to a
  /// mantissa of 16 bits; z = clamp(round_half_even(-lo / s), 0, 255). Since z and c are integers
  /// of 8 bits, their products with s are exact in F32.
  kExact,
  /// As torch.ao: lo and hi are the row's minimum and maximum; s = (hi - lo) / 255, or 1 if that is
  /// at most 2^-23 or NaN; z = -lo / s, not rounded. A 0 is off by up to s / 2 or, if it is outside
  /// the row's range, by its distance from the range. In a row with a NaN or an infinity, z and all
  /// values are NaN.
  kUpstream,
};

/// The codes of a matrix [rows, cols], and its scales and zero points. The caller owns the memory.
struct QuantizedRows {
  std::span<uint8_t> codes;      ///< rows * cols, row-major
  std::span<float> scales;       ///< rows
  std::span<float> zero_points;  ///< rows
};

/// Quantizes `weight`, F32. A matrix without columns gets scales of 1 and zero points of 0.
///
/// Errors: kInvalidArgument, with nothing written, for another dtype or wrong sizes in `out`. Under
/// kExact also kInvalidArgument, naming the row, for the first row that holds a NaN or an infinity
/// or whose range exceeds the largest float; the content of `out` is unspecified then.
Status quantize_rows(const MatrixView& weight, ZeroPolicy policy, const QuantizedRows& out,
                     ParallelFor& threads);

/// Encodes `weight`, F32, with the given scales and zero points. Values outside a row's range are
/// clamped to it. Errors: kInvalidArgument, with nothing written, for another dtype or wrong sizes.
Status requantize_rows(const MatrixView& weight, std::span<const float> scales,
                       std::span<const float> zero_points, std::span<uint8_t> codes,
                       ParallelFor& threads);

}  // namespace winnow
