#include <algorithm>
#include <iterator>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/plain_json.h"
#include "base/status_macros.h"
#include "io/file/file_kind.h"
#include "io/safetensors/header_checks.h"
#include "io/safetensors/header_handler.h"
#include "io/safetensors/header_text.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

constexpr std::string_view kJsonSpaces = " \t\n\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Walks over a text and tells a handler how far the parser is.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char& operator*() const noexcept { return *at; }
  CountingIterator& operator++() noexcept {
    ++at;
    ++*consumed;
    return *this;
  }
  bool operator==(const CountingIterator& other) const noexcept { return at == other.at; }
  bool operator!=(const CountingIterator& other) const noexcept { return at != other.at; }

  const char* at;
  size_t* consumed;
};

// The checks of the bytes before they are looked at as JSON. The library would skip a byte
// order mark, and it looks at the encoding only inside strings.
Status check_bytes(std::string_view text) {
  if (text.empty()) return {SafetensorsError::kHeaderEmpty, "the header is empty: its length is 0"};
  if (text.size() > kMaxHeaderBytes) return io::header_too_large(text.size());
  if (text.starts_with(kByteOrderMark)) {
    return {SafetensorsError::kHeaderByteOrderMark, "the header starts with a byte order mark"};
  }
  const size_t invalid = find_invalid_utf8(text);
  if (invalid == text.size()) return {};
  return {SafetensorsError::kHeaderNotUtf8,
          concat("byte ", invalid, " of the header is not UTF-8")};
}

// Some writers pad with NUL bytes.
Status trailing_bytes(size_t at, char found) {
  return {SafetensorsError::kHeaderTrailingBytes,
          concat("byte ", at, " of the header stands after the closing brace",
                 found == '\0' ? " and is a NUL: headers are padded with spaces only" : "")};
}

// `status` is that of the parser, which stopped at the byte before `consumed`.
Status with_nul(const Status& status, std::string_view text, size_t consumed) {
  if (status.code() != SafetensorsError::kHeaderSyntax || consumed == 0 ||
      text[consumed - 1] != '\0') {
    return status;
  }
  return {status.code(), concat(status.message(), ", which is a NUL")};
}

// That only spaces follow the value. The library is not asked: to it a NUL is the end.
Status check_end(std::string_view text, size_t consumed) {
  const size_t junk = text.find_first_not_of(kJsonSpaces, consumed);
  return junk == std::string_view::npos ? Status() : trailing_bytes(junk, text[junk]);
}

// Parses the one JSON value that `text` begins with.
Status parse_json(const std::string& text, io::HeaderHandler& handler, size_t& consumed) {
  const CountingIterator first{text.data(), &consumed};
  const CountingIterator last{text.data() + text.size(), &consumed};
  const auto format = nlohmann::json::input_format_t::json;
  if (!nlohmann::json::sax_parse(first, last, &handler, format, /*strict=*/false)) {
    return with_nul(handler.status(), text, consumed);
  }
  return {};
}

Result<io::ParsedHeader> parse_text(const std::string& text, uint64_t data_bytes) {
  WINNOW_RETURN_IF_ERROR(check_bytes(text));
  // Before the library sees the text: its memory is bounded by what this allows.
  WINNOW_ASSIGN_OR_RETURN(const size_t max_tensors, io::scan_tokens(text));
  size_t consumed = 0;
  std::optional<io::HeaderHandler> handler(std::in_place, &consumed, max_tensors);
  if (!PlainJson(text, *handler, consumed).visit()) {
    consumed = 0;
    handler.reset();  // its memory goes before that of the next is taken
    handler.emplace(&consumed, max_tensors);
    WINNOW_RETURN_IF_ERROR(parse_json(text, *handler, consumed));
  }
  WINNOW_RETURN_IF_ERROR(check_end(text, consumed));
  io::ParsedHeader& header = handler->header();
  // When all are known: sorting once is cheaper than a set that grows.
  WINNOW_RETURN_IF_ERROR(io::check_unique_keys(header.metadata));
  WINNOW_RETURN_IF_ERROR(io::check_unique_names(header.tensors));
  WINNOW_RETURN_IF_ERROR(io::check_layout(header.tensors, data_bytes));
  // A reference to the handler's own, which would be copied.
  return std::move(header);
}

Result<SafetensorsHeader> read_image(std::span<const std::byte> file) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t header_bytes, io::header_length(file, file.size()));
  const std::span<const std::byte> header = file.subspan(io::kLengthBytes, header_bytes);
  std::string text(reinterpret_cast<const char*>(header.data()), header.size());
  return SafetensorsHeader::parse(std::move(text), file.size() - io::kLengthBytes - header_bytes);
}

}  // namespace

uint64_t TensorInfo::numel() const noexcept {
  uint64_t product = 1;
  for (const uint64_t dimension : shape) product *= dimension;
  return product;
}

Result<SafetensorsHeader> SafetensorsHeader::parse(std::string text, uint64_t data_bytes) try {
  WINNOW_ASSIGN_OR_RETURN(io::ParsedHeader parsed, parse_text(text, data_bytes));
  SafetensorsHeader header;
  // Kept for text_with_metadata, which leaves all else as the file has it.
  header.text_ = std::move(text);
  header.tensors_ = std::move(parsed.tensors);
  header.metadata_ = std::move(parsed.metadata);
  header.metadata_begin_ = parsed.metadata_begin;
  header.metadata_end_ = parsed.metadata_end;
  return header;
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory, "not enough memory for the header");
}

Result<SafetensorsHeader> SafetensorsHeader::parse_image(std::span<const std::byte> file) {
  Result<SafetensorsHeader> header = read_image(file);
  // Only a failure asks what kind of file it is.
  if (header.ok()) return header;
  return io::with_file_kind(header.status(), file.first(std::min(file.size(), io::kFrontBytes)));
}

std::string SafetensorsHeader::text_with_metadata(const Metadata& metadata) const {
  std::string out;
  if (metadata_end_ != 0) {
    // All but the metadata stays byte for byte, in the order of the file.
    out.assign(text_, 0, metadata_begin_);
    io::append_json_metadata(out, metadata);
    out.append(text_, metadata_end_);
  } else if (metadata.empty()) {
    out = text_;
  } else {
    // At the front, where the reference puts it too.
    const size_t inside = text_.find('{') + 1;
    out.assign(text_, 0, inside).append("\"__metadata__\":");
    io::append_json_metadata(out, metadata);
    if (!tensors_.empty()) out.push_back(',');
    out.append(text_, inside);
  }
  io::pad_header(out);
  return out;
}

}  // namespace winnow
