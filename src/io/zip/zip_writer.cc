#include "io/zip/zip_writer.h"

#include <algorithm>

#include "base/status_macros.h"
#include "io/zip/zip_format.h"

namespace winnow::io {
namespace {

constexpr uint64_t kAlignment = 64;  // torch's, so that mapped tensors are aligned
constexpr uint16_t kVersion = 20;    // the oldest that everyone reads
constexpr uint16_t kVersionZip64 = 45;
constexpr uint16_t kDate = 1 << 5 | 1;  // the first of January of 1980, the format's first day

// The greatest number of 32 bits is a mark, so it cannot be written as a value either.
bool is_full(uint64_t number) { return number >= kFull32; }
uint32_t or_full(uint64_t number) {
  return is_full(number) ? kFull32 : static_cast<uint32_t>(number);
}

// The size of the zip64 field without its own header: two sizes, which are equal, and an offset.
size_t zip64_bytes(uint64_t bytes, uint64_t offset) {
  return (is_full(bytes) ? 16 : 0) + (is_full(offset) ? 8 : 0);
}

// What both headers say, in the order of HeaderFields; no flags, and midnight.
void append_fields(const PlannedRecord& record, size_t zip64, size_t extra, ZipText& out) {
  out.u16(zip64 == 0 ? kVersion : kVersionZip64).u16(0).u16(kMethodStored).u16(0).u16(kDate);
  out.u32(record.crc32).u32(or_full(record.bytes)).u32(or_full(record.bytes));
  out.u16(record.name.size()).u16(extra);
}

std::string local_header(const PlannedRecord& record) {
  // 0: a record's own header does not hold its offset.
  const size_t zip64 = zip64_bytes(record.bytes, 0);
  const size_t field = zip64 == 0 ? 0 : kExtraHeaderBytes + zip64;
  const uint64_t end = record.offset + kLocalBytes + record.name.size() + field + kExtraHeaderBytes;
  // Its field is there even if it is empty, so that the sum above holds.
  const size_t padding = (kAlignment - end % kAlignment) % kAlignment;
  ZipText out;
  out.u32(kLocalSignature);
  append_fields(record, zip64, field + kExtraHeaderBytes + padding, out);
  out.text(record.name);
  if (zip64 != 0) out.u16(kZip64Field).u16(zip64).u64(record.bytes).u64(record.bytes);
  out.u16(kPaddingField).u16(padding).text(std::string(padding, 'Z'));
  return out.str();
}

std::string central_header(const PlannedRecord& record) {
  const size_t zip64 = zip64_bytes(record.bytes, record.offset);
  ZipText out;
  out.u32(kCentralSignature).u16(zip64 == 0 ? kVersion : kVersionZip64);
  append_fields(record, zip64, zip64 == 0 ? 0 : kExtraHeaderBytes + zip64, out);
  // No comment, the first disk, no attributes.
  out.u16(0).u16(0).u16(0).u32(0).u32(or_full(record.offset)).text(record.name);
  if (zip64 != 0) out.u16(kZip64Field).u16(zip64);
  if (is_full(record.bytes)) out.u64(record.bytes).u64(record.bytes);
  if (is_full(record.offset)) out.u64(record.offset);
  return out.str();
}

std::string end_records(uint64_t records, uint64_t bytes, uint64_t offset) {
  ZipText out;
  if (records >= kFull16 || is_full(bytes) || is_full(offset)) {
    out.u32(kEnd64Signature).u64(kEnd64Bytes - 12).u16(kVersionZip64).u16(kVersionZip64);
    out.u64(0).u64(records).u64(records).u64(bytes).u64(offset);
    out.u32(kLocatorSignature).u32(0).u64(offset + bytes).u32(1);
  }
  const uint64_t plain_records = std::min<uint64_t>(records, kFull16);
  out.u32(kEndSignature).u32(0).u16(plain_records).u16(plain_records);
  out.u32(or_full(bytes)).u32(or_full(offset)).u16(0);
  return out.str();
}

uint64_t mix(uint64_t hash, uint64_t value) {
  constexpr uint64_t kFnvPrime = 0x100000001b3;  // of FNV-1a
  return (hash ^ value) * kFnvPrime;
}

}  // namespace

// By writing all but the payloads, so that no second description of the headers can differ.
uint64_t zip_bytes(std::span<const PlannedRecord> records) {
  uint64_t offset = 0, directory = 0;
  for (PlannedRecord record : records) {
    record.offset = offset;
    offset += local_header(record).size() + record.bytes;
    directory += central_header(record).size();
  }
  return offset + directory + end_records(records.size(), directory, offset).size();
}

Status ZipWriter::add(std::span<const std::byte> payload) {
  // Behind the last record the file is committed or abandoned already, which is its error to give.
  if (written_ == records_.size()) return file_.append({});
  PlannedRecord& record = records_[written_++];
  record.offset = file_.size();
  // The CRC comes first, since the header in front of the payload holds it.
  record.crc32 = crc32(0, payload);
  const std::string header = local_header(record);
  WINNOW_RETURN_IF_ERROR(file_.append(std::as_bytes(std::span(header))));
  if (!payload.empty()) WINNOW_RETURN_IF_ERROR(file_.append(payload));
  for (const char c : record.name) fingerprint_ = mix(fingerprint_, static_cast<uint8_t>(c));
  fingerprint_ = mix(mix(fingerprint_, record.bytes), record.crc32);
  return {};
}

Status ZipWriter::commit() {
  std::string directory;
  for (const PlannedRecord& record : records_) directory += central_header(record);
  directory += end_records(records_.size(), directory.size(), file_.size());
  WINNOW_RETURN_IF_ERROR(file_.append(std::as_bytes(std::span(directory))));
  return file_.commit();
}

}  // namespace winnow::io
