// PRIVATE. The four types of values that have scores, as bits and as numbers: what code outside of
// the vector kernels knows of them. All widenings are exact.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "winnow/base/dtype.h"

namespace winnow {

/// The magnitude of the F16 with these bits. 2^112 rebiases the exponent, exactly for subnormals
/// too; infinities and NaN then get the exponent that the multiplication could not give them.
inline float f16_magnitude(uint16_t bits) noexcept {
  const uint32_t magnitude = bits & 0x7fffu;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special);
}

/// The magnitude of the BF16 with these bits.
inline float bf16_magnitude(uint16_t bits) noexcept {
  return std::bit_cast<float>((bits & 0x7fffu) << 16);
}

// A format has Bits, the unsigned integer of its size; kInfinity, the bits of infinity, above which
// are those of NaN alone once the sign is off; and magnitude(bits), of the type that scores have.

struct F16Format {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7c00;
  static float magnitude(Bits bits) noexcept { return f16_magnitude(bits); }
};

struct BF16Format {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7f80;
  static float magnitude(Bits bits) noexcept { return bf16_magnitude(bits); }
};

struct F32Format {
  using Bits = uint32_t;
  static constexpr Bits kInfinity = 0x7f800000;
  static float magnitude(Bits bits) noexcept { return std::abs(std::bit_cast<float>(bits)); }
};

struct F64Format {
  using Bits = uint64_t;
  static constexpr Bits kInfinity = 0x7ff0000000000000;
  static double magnitude(Bits bits) noexcept { return std::abs(std::bit_cast<double>(bits)); }
};

/// Calls function(format) with the format of a prunable type.
template <typename Function>
auto with_format(DType dtype, const Function& function) noexcept {
  switch (dtype) {
    case DType::kF16:
      return function(F16Format());
    case DType::kBF16:
      return function(BF16Format());
    case DType::kF64:
      return function(F64Format());
    default:
      return function(F32Format());
  }
}

/// The bits of element `index`, at any alignment.
template <typename Format>
typename Format::Bits load_bits(Format, const void* values, size_t index) noexcept {
  typename Format::Bits bits;
  std::memcpy(&bits, static_cast<const char*>(values) + index * sizeof(bits), sizeof(bits));
  return bits;
}

/// Element `index` as a double.
template <typename Format>
double load_value(Format format, const void* values, size_t index) noexcept {
  constexpr int kSignBit = 8 * sizeof(typename Format::Bits) - 1;
  const auto bits = load_bits(format, values, index);
  const double magnitude = Format::magnitude(bits);
  return (bits >> kSignBit & 1u) != 0 ? -magnitude : magnitude;
}

}  // namespace winnow
