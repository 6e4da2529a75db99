// Rows of floats as bytes: each row has a scale and a zero point, each value one code.
//
// For a row x with codes c, scale s and zero point z, in F32, rounded after each operator:
//
//   c[j]     = clamp(round_half_even(x[j] * (1 / s) + z), 0, 255)      a NaN becomes 0
//   value[j] = (c[j] - z) * s
//
// These are the formulas of torch's `float_qparams` scheme. The result is the same, byte for byte,
// for any number of threads. Thread-safety: functions of their arguments alone.
#pragma once

#include <cstdint>
#include <span>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// Where the zero of a row is put.
enum class ZeroPolicy : uint8_t {
  /// 0 has a code of its own, so that what was pruned stays exactly 0. With lo = min(0, x...) and
  /// hi = max(0, x...): s = (hi - lo) / 255, or 1 where that is at most 2^-23, rounded up to a
  /// mantissa of 16 bits; z = clamp(round_half_even(-lo / s), 0, 255). Then z and c are integers of
  /// 8 bits, whose products with s are floats without rounding.
  kExact,
  /// As torch.ao: lo and hi are the row's own, s = (hi - lo) / 255, or 1 where that is at most
  /// 2^-23 or NaN; z = -lo / s, no integer. 0 is off by up to s / 2, and where it lies outside the
  /// row's
  /// range, by the distance to it. The z of a row with a NaN or an infinity is NaN, and so are its
  /// values.
  kUpstream,
};

/// The codes of a matrix [rows, cols] and what they are read by. The memory is the caller's.
struct QuantizedRows {
  std::span<uint8_t> codes;      ///< rows * cols, row-major
  std::span<float> scales;       ///< rows
  std::span<float> zero_points;  ///< rows
};

/// Quantizes `weight`, F32. A matrix without columns gets scales of 1 and zero points of 0.
///
/// Errors: kInvalidArgument for another dtype or sizes of `out` that do not fit, with nothing
/// written; under kExact also for the first row that holds a NaN or an infinity, or whose values
/// are further apart than the largest float, naming it, with `out` in any state.
Status quantize_rows(const MatrixView& weight, ZeroPolicy policy, const QuantizedRows& out,
                     ParallelFor& threads);

/// Encodes `weight`, F32, by given scales and zero points. Values outside a row's range become the
/// nearest end of it.
/// Errors: kInvalidArgument for another dtype or sizes that do not fit, with nothing written.
Status requantize_rows(const MatrixView& weight, std::span<const float> scales,
                       std::span<const float> zero_points, std::span<uint8_t> codes,
                       ParallelFor& threads);

}  // namespace winnow
