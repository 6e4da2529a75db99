// Tables for the tests of quantization.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "winnow/torch/nn/quantized_weight.h"

namespace winnow::testing {

/// Rows around 0, above it, below it, far from it, of one value, and with a share of zeros that
/// grows from none to all: what pruned tables look like, at magnitudes from 2^-10 to 2^10.
inline at::Tensor pruned_table(int64_t rows, int64_t cols, uint64_t seed) {
  torch::manual_seed(seed);
  at::Tensor table = torch::randn({rows, cols});
  const at::Tensor kind = torch::randint(5, {rows, 1});
  table = torch::where(kind.eq(1), table.abs() + 0.5, table);
  table = torch::where(kind.eq(2), -table.abs() - 0.5, table);
  table = torch::where(kind.eq(3), table + 10, table);
  table = torch::where(kind.eq(4), torch::ones_like(table), table);
  table = table * torch::randint(-10, 11, {rows, 1}).to(torch::kFloat).exp2();
  return table * torch::rand({rows, cols}).gt(torch::rand({rows, 1}));
}

/// A table whose values are multiples of 1/4 up to 128: sums of up to 2^15 of them are floats, in
/// any order and with the kernel's fma, so that bags can be compared bit for bit.
inline nn::QuantizedWeight quarters(int64_t rows, int64_t cols, uint64_t seed = 1) {
  torch::manual_seed(seed);
  return {torch::randint(256, {rows, cols}, torch::kByte),
          torch::randint(-2, 0, {rows}).to(torch::kFloat).exp2(),
          torch::randint(256, {rows}).to(torch::kFloat)};
}

/// Equal bit for bit, signs of zeros and all.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         a.contiguous().view(torch::kByte).equal(b.contiguous().view(torch::kByte));
}

/// Whether it is true of every value.
inline bool holds(const at::Tensor& condition) { return condition.all().item<bool>(); }

}  // namespace winnow::testing
