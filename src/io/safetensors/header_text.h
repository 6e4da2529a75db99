// Private: a header as bytes: the 8 bytes of its length, its tokens, and how it is written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "winnow/base/status.h"
#include "winnow/io/safetensors.h"

namespace winnow::io {

inline constexpr size_t kLengthBytes = 8;

/// The header's length out of the file's first bytes (at least 8 of them, if it has as many),
/// checked against the size of the whole file and the limit.
Result<uint64_t> header_length(std::span<const std::byte> first_bytes, uint64_t file_bytes);

/// `length` as a file begins with it: 8 bytes, the lowest first.
std::array<std::byte, kLengthBytes> encode_length(uint64_t length) noexcept;

/// The error for a header of that length.
Status header_too_large(uint64_t length);

/// The longest token outside strings: the JSON library copies a token twice, and several times more
/// when it words an error. The format's own have at most 20 bytes.
inline constexpr size_t kMaxTokenBytes = 1000;

/// How many tensors the header `text` can describe at most. kStringTooLong, or kHeaderSyntax for
/// any other token that is too long. Of a text that is not JSON nothing else is noticed.
Result<size_t> scan_tokens(std::string_view text);

/// Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// Appends `metadata` as a JSON object; of equal keys only the last is written, in its place.
void append_json_metadata(std::string& out, const Metadata& metadata);

/// Appends spaces up to a multiple of 8 bytes, so that the data section starts aligned.
void pad_header(std::string& text);

}  // namespace winnow::io
