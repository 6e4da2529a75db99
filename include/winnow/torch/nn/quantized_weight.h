// Tables in bytes: each row of a weight has a scale and a zero point, each value one code.
//
//   winnow::nn::QuantizedWeight quantized = winnow::nn::quantize_rows(embedding->weight);
//   embedding->quantize(quantized);                       // see nn/quantizable.h
//   at::Tensor values = winnow::nn::dequantize_rows(quantized);
//
// For a row x with codes c, scale s and zero point z, in F32:
//
//   c[j]     = clamp(round_half_even(x[j] * (1 / s) + z), 0, 255)      rounded after each operator
//   value[j] = (c[j] - z) * s
//
// These are the formulas of LibTorch's `float_qparams` scheme, written out in plain tensors: no
// quantized tensor of LibTorch, which are to leave it, is made.
//
// Memory: what is returned, and about 16 MiB. Thread-safety: functions of their arguments alone;
// they run on the threads of LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "winnow/core/row_quantization.h"

namespace winnow::nn {

/// kExact and kUpstream: core/row_quantization.h has their formulas. Under kExact an error of a
/// value is at most s / 2 (and 2^-14 s for the roundings on the way).
using winnow::ZeroPolicy;

/// A table of `rows` by `cols` values. A handle: copies share the tensors.
struct QuantizedWeight {
  at::Tensor codes;        ///< [rows, cols], uint8, strided in any way
  at::Tensor scales;       ///< [rows], F32
  at::Tensor zero_points;  ///< [rows], F32

  /// A table of zeros, for a checkpoint to be loaded into.
  static QuantizedWeight zeros(int64_t rows, int64_t cols);

  /// c10::ValueError, naming the tensor, unless they are as above and on the CPU.
  void check() const;
};

/// Quantizes `weight`, [rows, cols] of any floating dtype, strided in any way, on the CPU; F64, F16
/// and BF16 are rounded to F32 first. `weight` is left as it is.
///
/// c10::ValueError: anything else; under kExact also a row that holds NaN or infinite values, or
/// whose values are further apart than the largest float, naming the row.
QuantizedWeight quantize_rows(const at::Tensor& weight, ZeroPolicy policy = ZeroPolicy::kExact);

/// Encodes `weight`, as above, by the scales and zero points of `like`, which the result shares.
/// Values outside a row's range become the nearest end of it. c10::ValueError where the shapes
/// differ.
QuantizedWeight requantize_rows(const at::Tensor& weight, const QuantizedWeight& like);

/// The values: [rows, cols], F32.
at::Tensor dequantize_rows(const QuantizedWeight& weight);

}  // namespace winnow::nn
