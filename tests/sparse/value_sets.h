// Values for the tests of codecs: each set is hard for one of them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/values.h"
#include "winnow/base/dtype.h"

namespace winnow::testing {

using ByteVector = std::vector<std::byte>;

inline ByteVector bytes_of_numbers(const auto& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  return {bytes.begin(), bytes.end()};
}

/// x as a value of that type, by its bits.
inline void append_value(double x, DType dtype, ByteVector& out) {
  const auto append = [&](auto number) {
    const auto bytes = std::as_bytes(std::span(&number, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  if (dtype == DType::kF64) return append(x);
  if (dtype == DType::kF32) return append(static_cast<float>(x));
  append(to_half(x, dtype));
}

/// n normal values, of which those of a small magnitude are 0: a share of `zeros`.
inline ByteVector pruned_normal(DType dtype, size_t n, double zeros, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  // The quantile of |x| by bisection: P(|x| < t) = erf(t / sqrt 2).
  double low = 0, high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erf(middle / std::sqrt(2.0)) < zeros ? low : high) = middle;
  }
  ByteVector out;
  for (size_t i = 0; i < n; ++i) {
    const double x = normal(random);
    append_value(std::abs(x) < low ? 0 : x, dtype, out);
  }
  return out;
}

/// n values of random bits: NaN with payloads, infinities, denormals and -0.0 among them.
inline ByteVector random_bits(size_t bytes, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  ByteVector out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

/// n normal values of `digits` significant decimal digits, as text gives them.
inline std::vector<float> decimals(size_t n, int digits, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 0.5);
  std::vector<float> out;
  for (size_t i = 0; i < n; ++i) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*g", digits, normal(random));
    out.push_back(std::strtof(text, nullptr));
  }
  return out;
}

}  // namespace winnow::testing
