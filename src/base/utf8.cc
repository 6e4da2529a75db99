#include "winnow/base/utf8.h"

#include <array>
#include <cstring>

namespace winnow {
namespace {

// Bytes in the sequence that `lead` starts; 0 for a byte that starts none.
uint32_t sequence_length(uint8_t lead) noexcept {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;  // continuation bytes, and overlong forms of ASCII
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

bool is_encodable(uint32_t value, uint32_t length) noexcept {
  constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  return value >= kSmallest[length] && value <= 0x10FFFF && !surrogate;
}

bool is_ascii_block(const char* block) noexcept {
  uint64_t word = 0;
  std::memcpy(&word, block, sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

}  // namespace

CodePoint decode_utf8(std::string_view text) noexcept {
  const auto lead = static_cast<uint8_t>(text[0]);
  const uint32_t length = sequence_length(lead);
  if (length <= 1) return {lead, length};
  if (text.size() < length) return {};
  uint32_t value = lead & (0x7Fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if ((byte & 0xC0) != 0x80) return {};
    value = value << 6 | (byte & 0x3Fu);
  }
  return is_encodable(value, length) ? CodePoint{value, length} : CodePoint{};
}

size_t find_invalid_utf8(std::string_view text) noexcept {
  size_t at = 0;
  while (at < text.size()) {
    // Headers are nearly all ASCII: eight bytes at a time.
    if (text.size() - at >= 8 && is_ascii_block(text.data() + at)) {
      at += 8;
      continue;
    }
    const uint32_t length = decode_utf8(text.substr(at)).length;
    if (length == 0) return at;
    at += length;
  }
  return at;
}

}  // namespace winnow
