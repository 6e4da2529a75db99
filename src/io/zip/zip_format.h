// Private: the numbers of the zip format (PKWARE's APPNOTE 6.3), and its integers, the lowest byte
// first.
//
//   record      local header, name, extra fields, payload [, data descriptor]
//   directory   for each record a central header, name, extra fields
//   end         [zip64 end record, zip64 locator,] end record
#pragma once

#include <libdeflate.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace winnow::io {

inline constexpr uint32_t kLocalSignature = 0x04034b50;
inline constexpr uint32_t kCentralSignature = 0x02014b50;
inline constexpr uint32_t kDescriptorSignature = 0x08074b50;
inline constexpr uint32_t kEndSignature = 0x06054b50;
inline constexpr uint32_t kEnd64Signature = 0x06064b50;
inline constexpr uint32_t kLocatorSignature = 0x07064b50;

inline constexpr size_t kLocalBytes = 30;
inline constexpr size_t kCentralBytes = 46;
inline constexpr size_t kEndBytes = 22;
inline constexpr size_t kEnd64Bytes = 56;
inline constexpr size_t kLocatorBytes = 20;
inline constexpr size_t kDescriptorBytes = 16;    // with its signature
inline constexpr size_t kDescriptor64Bytes = 24;  // the same with sizes of 64 bits
inline constexpr size_t kExtraHeaderBytes = 4;

inline constexpr uint16_t kFlagDescriptor = 1 << 3;  // CRC and sizes stand behind the payload
inline constexpr uint16_t kFlagUtf8 = 1 << 11;
inline constexpr uint16_t kMethodStored = 0;
inline constexpr uint16_t kMaxVersion = 45;           // the first that knows zip64
inline constexpr uint32_t kAttributeFolder = 1 << 4;  // of MS-DOS
inline constexpr uint16_t kZip64Field = 0x0001;
inline constexpr uint16_t kPaddingField = 0x4246;  // "FB": torch's padding to 64 bytes
inline constexpr uint16_t kFull16 = 0xffff;        // the number is in a zip64 field or record
inline constexpr uint32_t kFull32 = 0xffffffff;

/// Reads integers one after the other. Precondition of each read: that many bytes are left.
class ZipFields {
 public:
  explicit ZipFields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint16_t u16() { return static_cast<uint16_t>(next(2)); }
  uint32_t u32() { return static_cast<uint32_t>(next(4)); }
  uint64_t u64() { return next(8); }
  void skip(size_t bytes) { bytes_ = bytes_.subspan(bytes); }

 private:
  uint64_t next(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(bytes_[i]);
    bytes_ = bytes_.subspan(bytes);
    return value;
  }

  std::span<const std::byte> bytes_;
};

/// What both headers of a record say, in the same order.
struct HeaderFields {
  uint16_t version = 0;  ///< that a reader needs
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t crc32 = 0;
  uint32_t stored_bytes = 0;
  uint32_t bytes = 0;
  uint16_t name_bytes = 0;
  uint16_t extra_bytes = 0;

  void read(ZipFields& fields) {
    version = fields.u16();
    flags = fields.u16();
    method = fields.u16();
    fields.skip(4);  // time and date
    crc32 = fields.u32();
    stored_bytes = fields.u32();
    bytes = fields.u32();
    name_bytes = fields.u16();
    extra_bytes = fields.u16();
  }
};

/// Appends integers to a text.
class ZipText {
 public:
  ZipText& u16(uint64_t value) { return put(value, 2); }
  ZipText& u32(uint64_t value) { return put(value, 4); }
  ZipText& u64(uint64_t value) { return put(value, 8); }
  ZipText& text(std::string_view value) {
    out_.append(value);
    return *this;
  }

  const std::string& str() const { return out_; }

 private:
  ZipText& put(uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) out_.push_back(static_cast<char>(value >> (8 * i)));
    return *this;
  }

  std::string out_;
};

/// CRC-32 of some bytes that have the CRC `crc`, and of `bytes` behind them; 0 is the CRC of none.
inline uint32_t crc32(uint32_t crc, std::span<const std::byte> bytes) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace winnow::io
