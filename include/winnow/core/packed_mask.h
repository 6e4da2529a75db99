// Masks at one bit a value, for files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace winnow {

/// How many bytes `values` bits take.
constexpr size_t packed_mask_bytes(size_t values) noexcept {
  return values / 8 + (values % 8 != 0);
}

/// Packs a mask: bit i % 8 (of value 1 << (i % 8)) of bits[i / 8] becomes mask[i]; the bits after
/// the last are 0. False where some byte of the mask is neither 0 nor 1; `bits` is unspecified
/// then.
/// @param bits packed_mask_bytes(mask.size()) bytes; shares no memory with `mask`
bool pack_mask(std::span<const uint8_t> mask, std::span<uint8_t> bits) noexcept;

/// The inverse. The bits after the last are not looked at.
/// @param bits packed_mask_bytes(mask.size()) bytes; shares no memory with `mask`
void unpack_mask(std::span<const uint8_t> bits, std::span<uint8_t> mask) noexcept;

}  // namespace winnow
