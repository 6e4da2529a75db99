// Private: the N of a record data/N, as zip and pickle both name a storage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace winnow::io {

/// N as torch writes it: decimal, without leading zeros, at most 18 digits, which fit into 63 bits.
/// Nothing for any other text.
inline std::optional<uint64_t> parse_storage_number(std::string_view text) {
  constexpr size_t kMaxDigits = 18;
  if (text.empty() || text.size() > kMaxDigits) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

}  // namespace winnow::io
