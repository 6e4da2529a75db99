#include "io/token_scan.h"

#include <algorithm>

#include "io/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/safetensors.h"

namespace winnow::io {
namespace {

// The bytes of the shortest entry: "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}
constexpr size_t kShortestEntry = 49;

bool ends_token(char c) noexcept {
  return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == ' ' ||
         c == '\t' || c == '\n' || c == '\r';
}

// The offset of the quote that ends the string whose content begins at `at`; or the text's end.
size_t string_end(std::string_view text, size_t at) noexcept {
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

}  // namespace

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
      objects += c == '{';
      token_begin = at + 1;
    } else if (at - token_begin == kMaxTokenBytes) {
      return token_too_long(token_begin);
    }
  }
  return std::min(objects, text.size() / kShortestEntry);
}

}  // namespace winnow::io
