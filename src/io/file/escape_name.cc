#include "winnow/io/escape_name.h"

#include <algorithm>
#include <cstdint>

#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"

namespace winnow {
namespace {

// Apart, so that no name is cut to save only a few bytes.
constexpr size_t kLongestShown = 160;
constexpr size_t kShownOfLonger = 128;

void append_hex(std::string& out, uint32_t value, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  while (digits-- > 0) out.push_back(kDigits[value >> (4 * digits) & 0xF]);
}

// Code points that a terminal obeys instead of showing, and marks that reorder the text around
// them.
bool is_deceptive(uint32_t value) noexcept {
  return (value >= 0x80 && value < 0xA0) || (value >= 0x200B && value <= 0x200F) ||
         (value >= 0x2028 && value <= 0x202E) || (value >= 0x2060 && value <= 0x206F) ||
         value == 0x061C || value == 0xFEFF;
}

void append_ascii(std::string& out, char c) {
  if (c == '"' || c == '\\') {
    out.push_back('\\');
    out.push_back(c);
  } else if (c < 0x20 || c == 0x7F) {
    out.append("\\x");
    append_hex(out, static_cast<uint8_t>(c), 2);
  } else {
    out.push_back(c);
  }
}

// Appends the first character of `rest`; returns how many bytes of it that was.
size_t append_escaped(std::string& out, std::string_view rest) {
  const CodePoint point = decode_utf8(rest);
  if (point.length == 1) {
    append_ascii(out, rest[0]);
    return 1;
  }
  if (point.length == 0) {
    out.append("\\x");
    append_hex(out, static_cast<uint8_t>(rest[0]), 2);
    return 1;
  }
  if (is_deceptive(point.value)) {
    out.append("\\u");
    append_hex(out, point.value, 4);
  } else {
    out.append(rest.substr(0, point.length));
  }
  return point.length;
}

// Whether the byte is shown as it is, whatever stands beside it.
bool is_plain(char c) noexcept { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; }

// Whole code points, until `limit` bytes are through.
std::string escape_up_to(std::string_view text, size_t limit) {
  // Nearly all names: listings of many tensors take a third of their time here otherwise.
  if (std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(limit), is_plain)) {
    return std::string(text.substr(0, limit));
  }
  std::string out;
  for (size_t at = 0; at < limit;) at += append_escaped(out, text.substr(at));
  return out;
}

}  // namespace

std::string escape_name(std::string_view name) {
  const bool shorten = name.size() > kLongestShown;
  std::string out = escape_up_to(name, shorten ? kShownOfLonger : name.size());
  if (shorten) out.append(concat("... (", name.size(), " bytes)"));
  return out;
}

std::string escape_path(std::string_view path) { return escape_up_to(path, path.size()); }

}  // namespace winnow
