#include "io/safetensors/header_text.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"

namespace winnow::io {
namespace {

uint64_t decode_length(std::span<const std::byte> bytes) noexcept {
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  return length;
}

// The bytes of the shortest entry: "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}
constexpr size_t kShortestEntry = 49;

// What stands between tokens in JSON. In a text that is not JSON it need not be right.
bool ends_token(char c) noexcept {
  return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == ' ' ||
         c == '\t' || c == '\n' || c == '\r';
}

// The offset of the quote that ends the string whose content begins at `at`; or the text's end.
size_t string_end(std::string_view text, size_t at) noexcept {
  // Past a backslash stands an escaped character, which may be a quote.
  while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  return std::min(at, text.size());
}

Status string_too_long(size_t at) {
  return {
      SafetensorsError::kStringTooLong,
      concat("the string at byte ", at, " of the header is over ", kMaxStringBytes, " bytes long")};
}

Status token_too_long(size_t at) {
  return {SafetensorsError::kHeaderSyntax, concat("the header is not JSON at its byte ", at,
                                                  ": a token of over ", kMaxTokenBytes, " bytes")};
}

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

// For each entry whether it is the last one with its key: the one that Python's json keeps.
std::vector<bool> last_of_its_key(const Metadata& metadata) {
  std::vector<bool> last(metadata.size());
  // These keys are the caller's own, so a hash table will do.
  std::unordered_set<std::string> seen;
  for (size_t i = metadata.size(); i-- > 0;) {
    last[i] = seen.insert(valid_utf8(metadata[i].first)).second;
  }
  return last;
}

}  // namespace

Status header_too_large(uint64_t length) {
  return {SafetensorsError::kHeaderTooLarge,
          concat("the header has ", length, " bytes, at most ", kMaxHeaderBytes, " are allowed")};
}

Result<uint64_t> header_length(std::span<const std::byte> first_bytes, uint64_t file_bytes) {
  if (file_bytes < kLengthBytes) {
    return Status(SafetensorsError::kFileTooShort,
                  concat("a safetensors file has at least 8 bytes, this one has ", file_bytes));
  }
  const uint64_t length = decode_length(first_bytes);
  // Before the file's size: other kinds of file show huge lengths here.
  if (length > kMaxHeaderBytes) {
    const Status status = header_too_large(length);
    return Status(status.code(), concat(status.message(), ": is it a safetensors file?"));
  }
  if (length > file_bytes - kLengthBytes) {
    return Status(SafetensorsError::kHeaderPastEnd,
                  concat("the header should have ", length, " bytes, but the file ends after ",
                         file_bytes - kLengthBytes));
  }
  return length;
}

std::array<std::byte, kLengthBytes> encode_length(uint64_t length) noexcept {
  std::array<std::byte, kLengthBytes> bytes{};
  for (size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<std::byte>(length >> (8 * i));
  return bytes;
}

Result<size_t> scan_tokens(std::string_view text) {
  size_t objects = 0;
  size_t token_begin = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      const size_t end = string_end(text, at + 1);
      if (end - at - 1 > kMaxStringBytes) return string_too_long(at);
      at = end;
      token_begin = end + 1;
    } else if (ends_token(c)) {
      // An upper bound: metadata and the header itself have braces too.
      objects += c == '{';
      token_begin = at + 1;
    } else if (at - token_begin == kMaxTokenBytes) {
      return token_too_long(token_begin);
    }
  }
  // Braces alone must not make the caller reserve more than the text has room for.
  return std::min(objects, text.size() / kShortestEntry);
}

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const uint32_t length = decode_utf8(text).length;
    // Else a caller's text could make a header that no reader takes.
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
    // Two entries of one key are refused by the reader.
    if (!is_last[i]) continue;
    out.push_back(separator);
    append_json_string(out, metadata[i].first);
    out.push_back(':');
    append_json_string(out, metadata[i].second);
    separator = ',';
  }
  out.append(metadata.empty() ? "{}" : "}");
}

// With the 8 bytes of its length, the header then ends at a multiple of 8, for readers that map it.
void pad_header(std::string& text) { text.append((8 - text.size() % 8) % 8, ' '); }

}  // namespace winnow::io
