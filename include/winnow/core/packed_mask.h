// Masks at one bit a value, for files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "winnow/base/status.h"

namespace winnow {

/// How many bytes `values` bits take.
constexpr size_t packed_mask_bytes(size_t values) noexcept {
  return values / 8 + (values % 8 != 0);
}

/// How many values the packed mask of a file has, which says its shape itself. kInvalidArgument for
/// a negative size, and for bits that are not packed_mask_bytes of the shape's values.
/// @param bytes  how many bytes of bits there are
Result<uint64_t> packed_mask_numel(std::span<const int64_t> shape, uint64_t bytes);

/// Packs a mask: bit i % 8 (of value 1 << (i % 8)) of bits[i / 8] becomes mask[i]; the bits after
/// the last are 0. False if some byte of the mask is neither 0 nor 1; `bits` is unspecified
/// then.
/// @param bits packed_mask_bytes(mask.size()) bytes; shares no memory with `mask`
bool pack_mask(std::span<const uint8_t> mask, std::span<uint8_t> bits) noexcept;

/// The inverse. The bits after the last are not looked at.
/// @param bits packed_mask_bytes(mask.size()) bytes; shares no memory with `mask`
void unpack_mask(std::span<const uint8_t> bits, std::span<uint8_t> mask) noexcept;

}  // namespace winnow
