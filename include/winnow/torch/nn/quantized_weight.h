// Int8 tables: each row of a weight has a scale and a zero point, each value one code.
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
// These are the formulas of LibTorch's `float_qparams` scheme, on plain tensors. LibTorch's
// quantized tensors are not used, because they are going to be removed.
//
// Memory: the result, and about 16 MiB. Thread-safety: the functions use nothing but their
// arguments, and run on LibTorch's threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "winnow/core/row_quantization.h"

namespace winnow::nn {

/// core/row_quantization.h has the formulas of kExact and kUpstream. Under kExact, the error of a
/// value is at most s / 2, plus 2^-14 s for intermediate roundings.
using winnow::ZeroPolicy;

/// A table of [rows, cols] values. Copies share the tensors.
struct QuantizedWeight {
  at::Tensor codes;        ///< [rows, cols], uint8, any strides
  at::Tensor scales;       ///< [rows], F32
  at::Tensor zero_points;  ///< [rows], F32

  /// Returns a table of zeros, into which a checkpoint can be loaded.
  static QuantizedWeight zeros(int64_t rows, int64_t cols);

  /// Throws c10::ValueError, naming the tensor, unless all have these shapes and dtypes and are on
  /// the CPU.
  void check() const;
};

/// Quantizes `weight`: [rows, cols], any floating dtype, any strides, on the CPU. F64, F16 and BF16
/// are first rounded to F32. `weight` is not changed.
///
/// Throws c10::ValueError for any other tensor; under kExact also, naming the row, for a row that
/// holds NaN or infinite values or whose range exceeds the largest float.
QuantizedWeight quantize_rows(const at::Tensor& weight, ZeroPolicy policy = ZeroPolicy::kExact);

/// Encodes `weight`, a tensor as above, with the scales and zero points of `like`, which the result
/// shares. Values outside a row's range are clamped to it. Throws c10::ValueError if the shapes
/// differ.
QuantizedWeight requantize_rows(const at::Tensor& weight, const QuantizedWeight& like);

/// Returns the values: [rows, cols], F32.
at::Tensor dequantize_rows(const QuantizedWeight& weight);

}  // namespace winnow::nn
