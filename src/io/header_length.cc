#include "io/header_length.h"

#include "io/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/safetensors.h"

namespace winnow::io {
namespace {

uint64_t decode_length(std::span<const std::byte> bytes) noexcept {
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  return length;
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

}  // namespace winnow::io
