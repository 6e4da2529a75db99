// Private: the 16-bit floating-point types, read as float. Both widenings are exact.
#pragma once

#include <bit>
#include <cstdint>

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

}  // namespace winnow
