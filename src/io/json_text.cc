#include "io/json_text.h"

#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "io/utf8.h"

namespace winnow::io {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

void append_control(std::string& out, uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out.append("\\u00");
  out.push_back(kDigits[byte >> 4]);
  out.push_back(kDigits[byte & 0xF]);
}

void append_json_ascii(std::string& out, char c) {
  if (c == '"' || c == '\\') out.push_back('\\');
  if (static_cast<uint8_t>(c) < 0x20) {
    append_control(out, static_cast<uint8_t>(c));
  } else {
    out.push_back(c);
  }
}

// `text` as it will be read back, for comparing keys.
std::string valid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const uint32_t length = decode_utf8(text).length;
    out.append(length == 0 ? kReplacement : text.substr(0, length));
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

// For each entry whether it is the last one with its key.
std::vector<bool> last_of_its_key(const Metadata& metadata) {
  std::vector<bool> last(metadata.size());
  std::unordered_set<std::string> seen;
  for (size_t i = metadata.size(); i-- > 0;) {
    last[i] = seen.insert(valid_utf8(metadata[i].first)).second;
  }
  return last;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const uint32_t length = decode_utf8(text).length;
    if (length == 0) out.append(kReplacement);
    if (length == 1) append_json_ascii(out, text[0]);
    if (length > 1) out.append(text.substr(0, length));
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out.push_back('"');
}

void append_json_metadata(std::string& out, const Metadata& metadata) {
  const std::vector<bool> is_last = last_of_its_key(metadata);
  char separator = '{';
  for (size_t i = 0; i < metadata.size(); ++i) {
    if (!is_last[i]) continue;
    out.push_back(separator);
    append_json_string(out, metadata[i].first);
    out.push_back(':');
    append_json_string(out, metadata[i].second);
    separator = ',';
  }
  out.append(metadata.empty() ? "{}" : "}");
}

void pad_header(std::string& text) { text.append((8 - text.size() % 8) % 8, ' '); }

}  // namespace winnow::io
