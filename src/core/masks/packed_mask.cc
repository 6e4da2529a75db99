#include "winnow/core/packed_mask.h"

#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <optional>

#include "base/status_macros.h"
#include "core/settings/setting_error.h"
#include "winnow/base/checked.h"

namespace winnow {
namespace {

static_assert(std::endian::native == std::endian::little, "bytes of a word are taken in order");

constexpr uint64_t kOnes = 0x0101010101010101;

// Byte i of a word is bit 8 i. The product puts a copy of it at 8 i + 7 k for k = 1...8, and with
// k = 8 - i that is 56 + i: the top byte has the eight bits in order. No two copies meet.
constexpr uint64_t kGather = 0x0102040810204080;

constexpr auto kSpread = [] {
  std::array<uint64_t, 256> words{};
  for (size_t byte = 0; byte < words.size(); ++byte) {
    for (size_t bit = 0; bit < 8; ++bit) words[byte] |= (byte >> bit & 1ULL) << (8 * bit);
  }
  return words;
}();

}  // namespace

Result<uint64_t> packed_mask_numel(std::span<const int64_t> shape, uint64_t bytes) {
  std::optional<uint64_t> values = 1;
  for (const int64_t size : shape) {
    WINNOW_RETURN_IF_ERROR(check_setting(size >= 0, "mask_shape", "sizes of at least 0", size));
    if (values) values = checked_mul(*values, static_cast<uint64_t>(size));
  }
  if (!values) return setting_error("mask_shape", "fewer than 2^64 values", "more");
  const uint64_t wanted = packed_mask_bytes(*values);
  WINNOW_RETURN_IF_ERROR(check_setting(bytes == wanted, "mask_bits",
                                       number_text(wanted) + " bytes for the values of mask_shape",
                                       bytes));
  return *values;
}

bool pack_mask(std::span<const uint8_t> mask, std::span<uint8_t> bits) noexcept {
  assert(bits.size() == packed_mask_bytes(mask.size()));
  uint64_t all = 0;
  for (size_t i = 0; i < mask.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, mask.data() + i, mask.size() - i < 8 ? mask.size() - i : 8);
    all |= word;
    bits[i / 8] = static_cast<uint8_t>(word * kGather >> 56);
  }
  return (all & ~kOnes) == 0;
}

void unpack_mask(std::span<const uint8_t> bits, std::span<uint8_t> mask) noexcept {
  assert(bits.size() == packed_mask_bytes(mask.size()));
  for (size_t i = 0; i < mask.size(); i += 8) {
    std::memcpy(mask.data() + i, &kSpread[bits[i / 8]], mask.size() - i < 8 ? mask.size() - i : 8);
  }
}

}  // namespace winnow
