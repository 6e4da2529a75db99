#include "io/zip/zip_writer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "io/zip/zip_format.h"

namespace winnow::io {
namespace {

constexpr uint64_t kAlignment = 64;  // torch's, so that mapped tensors are aligned
constexpr uint16_t kVersion = 20;    // the oldest that everyone reads
constexpr uint16_t kVersionZip64 = 45;
constexpr uint16_t kDate = 1 << 5 | 1;  // the first of January of 1980, the format's first day
constexpr size_t kSizesFieldBytes = 16;
constexpr size_t kOffsetFieldBytes = 8;

// The greatest number of 32 bits is a mark, so it cannot be written as a value either.
bool is_full(uint64_t number) { return number >= kFull32; }
uint32_t or_full(uint64_t number) {
  return is_full(number) ? kFull32 : static_cast<uint32_t>(number);
}

// The size of the zip64 field, without its own header.
size_t zip64_bytes(uint64_t bytes, uint64_t offset) {
  return (is_full(bytes) ? kSizesFieldBytes : 0) + (is_full(offset) ? kOffsetFieldBytes : 0);
}

// An extra field's size as a part of a header; 0 without content, and without the field.
size_t field_bytes(size_t content) { return content == 0 ? 0 : kExtraHeaderBytes + content; }

// The content of the padding field of a record at `offset`, which may be empty.
size_t padding_bytes(uint64_t offset, size_t name_bytes, uint64_t bytes) {
  const uint64_t end =
      offset + kLocalBytes + name_bytes + field_bytes(zip64_bytes(bytes, 0)) + kExtraHeaderBytes;
  return (kAlignment - end % kAlignment) % kAlignment;
}

std::string local_header(const std::string& name, uint64_t offset, uint64_t bytes, uint32_t crc) {
  // 0: a record's own header does not hold its offset.
  const size_t zip64 = zip64_bytes(bytes, 0);
  const size_t padding = padding_bytes(offset, name.size(), bytes);
  ZipText out;
  out.u32(kLocalSignature).u16(zip64 == 0 ? kVersion : kVersionZip64);
  out.u16(0).u16(kMethodStored).u16(0).u16(kDate);  // no flags; midnight
  out.u32(crc).u32(or_full(bytes)).u32(or_full(bytes));
  out.u16(name.size()).u16(field_bytes(zip64) + kExtraHeaderBytes + padding).text(name);
  if (zip64 != 0) out.u16(kZip64Field).u16(zip64).u64(bytes).u64(bytes);
  out.u16(kPaddingField).u16(padding).text(std::string(padding, 'Z'));
  return out.str();
}

struct End {
  uint64_t records = 0;
  uint64_t bytes = 0;   // of the directory
  uint64_t offset = 0;  // likewise

  bool needs_zip64() const { return records >= kFull16 || is_full(bytes) || is_full(offset); }
  uint64_t total() const { return kEndBytes + (needs_zip64() ? kEnd64Bytes + kLocatorBytes : 0); }
};

std::string end_records(const End& end) {
  ZipText out;
  if (end.needs_zip64()) {
    out.u32(kEnd64Signature).u64(kEnd64Bytes - 12).u16(kVersionZip64).u16(kVersionZip64);
    out.u64(0).u64(end.records).u64(end.records).u64(end.bytes).u64(end.offset);
    out.u32(kLocatorSignature).u32(0).u64(end.offset + end.bytes).u32(1);
  }
  const uint64_t records = std::min<uint64_t>(end.records, kFull16);
  out.u32(kEndSignature).u32(0).u16(records).u16(records);
  out.u32(or_full(end.bytes)).u32(or_full(end.offset)).u16(0);
  return out.str();
}

uint64_t mix(uint64_t hash, uint64_t value) {
  constexpr uint64_t kFnvPrime = 0x100000001b3;  // of FNV-1a
  return (hash ^ value) * kFnvPrime;
}

}  // namespace

// Adds up what local_header, append_central and end_records write.
uint64_t zip_bytes(std::span<const PlannedRecord> records) {
  uint64_t offset = 0, directory = 0;
  for (const PlannedRecord& record : records) {
    const size_t name = record.name.size();
    directory += kCentralBytes + name + field_bytes(zip64_bytes(record.bytes, offset));
    offset += kLocalBytes + name + field_bytes(zip64_bytes(record.bytes, 0)) + kExtraHeaderBytes +
              padding_bytes(offset, name, record.bytes) + record.bytes;
  }
  return offset + directory + End{records.size(), directory, offset}.total();
}

Status ZipWriter::add(const std::string& name, std::span<const std::byte> payload) {
  // The CRC comes first, since the header in front of the payload holds it.
  const Entry entry = {name, file_.size(), payload.size(), crc32(0, payload)};
  const std::string header = local_header(name, entry.offset, entry.bytes, entry.crc32);
  WINNOW_RETURN_IF_ERROR(file_.append(std::as_bytes(std::span(header))));
  if (!payload.empty()) WINNOW_RETURN_IF_ERROR(file_.append(payload));
  for (const char c : name) fingerprint_ = mix(fingerprint_, static_cast<uint8_t>(c));
  fingerprint_ = mix(mix(fingerprint_, entry.bytes), entry.crc32);
  entries_.push_back(entry);
  return {};
}

void ZipWriter::append_central(const Entry& entry, std::string& out) {
  const size_t zip64 = zip64_bytes(entry.bytes, entry.offset);
  const uint16_t version = zip64 == 0 ? kVersion : kVersionZip64;
  ZipText text;
  text.u32(kCentralSignature).u16(version).u16(version);
  text.u16(0).u16(kMethodStored).u16(0).u16(kDate);
  text.u32(entry.crc32).u32(or_full(entry.bytes)).u32(or_full(entry.bytes));
  text.u16(entry.name.size()).u16(field_bytes(zip64)).u16(0);
  text.u16(0).u16(0).u32(0).u32(or_full(entry.offset)).text(entry.name);
  if (zip64 != 0) text.u16(kZip64Field).u16(zip64);
  if (is_full(entry.bytes)) text.u64(entry.bytes).u64(entry.bytes);
  if (is_full(entry.offset)) text.u64(entry.offset);
  out.append(text.str());
}

Status ZipWriter::commit() {
  std::string directory;
  for (const Entry& entry : entries_) append_central(entry, directory);
  const End end = {entries_.size(), directory.size(), file_.size()};
  directory.append(end_records(end));
  WINNOW_RETURN_IF_ERROR(file_.append(std::as_bytes(std::span(directory))));
  return file_.commit();
}

}  // namespace winnow::io
