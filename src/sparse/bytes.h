// Private: numbers as bytes, the lowest first, and how they are read back from bytes that nobody
// trusts.
#pragma once

#include <libdeflate.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/concat.h"
#include "winnow/base/status.h"
#include "winnow/sparse/error_codes.h"

namespace winnow::sparse {

using Bytes = std::vector<uint8_t>;

/// The same bytes by another type.
inline std::span<const uint8_t> as_numbers(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

/// The CRC-32 of zip and zlib, of bytes that follow those with the CRC-32 `before`.
inline uint32_t crc32(std::span<const uint8_t> bytes, uint32_t before = 0) noexcept {
  // libdeflate takes a null pointer for the start of a new checksum.
  return bytes.empty() ? before : libdeflate_crc32(before, bytes.data(), bytes.size());
}

/// Adds a number to the end of `out`. winnow runs on little-endian machines only, so the bytes of a
/// number are those that the format wants.
template <typename T>
void append_number(T number, Bytes& out) {
  const size_t at = out.size();
  out.resize(at + sizeof(T));
  std::memcpy(out.data() + at, &number, sizeof(T));
}

/// Takes one thing after the other from the front of some bytes.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  size_t left() const noexcept { return bytes_.size(); }

  /// Error: kTruncated, naming `what`.
  Result<std::span<const uint8_t>> take(uint64_t count, std::string_view what) {
    if (count > bytes_.size()) {
      return Status(SparseError::kSparseTruncated,
                    concat("expected ", count, " bytes of ", what, ", found ", bytes_.size()));
    }
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  template <typename T>
  Result<T> number(std::string_view what) {
    Result<std::span<const uint8_t>> bytes = take(sizeof(T), what);
    if (!bytes.ok()) return bytes.status();
    T value;
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }

 private:
  std::span<const uint8_t> bytes_;
};

}  // namespace winnow::sparse
