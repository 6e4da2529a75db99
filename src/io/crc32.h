// Private: CRC-32 as zip has it.
#pragma once

#include <libdeflate.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace winnow::io {

/// The CRC of what had the CRC `crc` and of `bytes` behind it; 0 is the CRC of nothing.
inline uint32_t crc32(uint32_t crc, std::span<const std::byte> bytes) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace winnow::io
