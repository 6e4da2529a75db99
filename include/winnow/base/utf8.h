// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace winnow {

/// A decoded code point; `length` is its bytes in the text, 0 if they are not UTF-8.
struct CodePoint {
  uint32_t value = 0;
  uint32_t length = 0;
};

/// The code point that `text` begins with. Precondition: `text` is not empty.
CodePoint decode_utf8(std::string_view text) noexcept;

/// The offset of the first byte that is not UTF-8; text.size() if all of it is.
size_t find_invalid_utf8(std::string_view text) noexcept;

}  // namespace winnow
