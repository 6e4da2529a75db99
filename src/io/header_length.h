// Private: the 8 bytes that a safetensors file begins with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "winnow/base/status.h"

namespace winnow::io {

inline constexpr size_t kLengthBytes = 8;

/// The header's length out of the file's first bytes (at least 8 of them, where it has as many),
/// checked against the size of the whole file and the limit.
Result<uint64_t> header_length(std::span<const std::byte> first_bytes, uint64_t file_bytes);

/// `length` as a file begins with it: 8 bytes, the lowest first.
std::array<std::byte, kLengthBytes> encode_length(uint64_t length) noexcept;

/// The error for a header of that length.
Status header_too_large(uint64_t length);

}  // namespace winnow::io
