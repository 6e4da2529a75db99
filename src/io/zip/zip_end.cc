#include <array>

#include "base/status_macros.h"
#include "io/zip/zip_format.h"
#include "io/zip/zip_reader.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"

namespace winnow::io {
namespace {

// A directory of as many records as we read, with names of a usual length, is smaller.
constexpr uint64_t kMaxDirectoryBytes = 128 << 20;

Status end_error(std::string_view what) {
  return {ZipError::kZipEnd, concat("the file does not end with a zip's end record: ", what)};
}

Status disks_error() { return {ZipError::kZipDisks, "the zip is spread over several disks"}; }

Status mismatch(std::string_view what, uint64_t zip64, uint64_t plain) {
  return {ZipError::kZip64Mismatch,
          concat("the zip64 end record has ", zip64, " as the ", what, ", the end record ", plain)};
}

// The end record's numbers, full ones if a zip64 record has to say more.
struct PlainEnd {
  uint16_t records = 0;
  uint32_t directory_bytes = 0;
  uint32_t directory_offset = 0;
};

Status parse_end(std::span<const std::byte> bytes, PlainEnd& end) {
  ZipFields fields(bytes);
  if (fields.u32() != kEndSignature) return end_error("cut short, or bytes behind it");
  const uint32_t disks = fields.u32();  // two numbers: of this disk and of the directory's first
  const uint16_t records_on_disk = fields.u16();
  end.records = fields.u16();
  end.directory_bytes = fields.u32();
  end.directory_offset = fields.u32();
  // Behind a comment the record would have to be searched for, and could be found twice.
  if (fields.u16() != 0) return end_error("it has a comment");
  return disks == 0 && records_on_disk == end.records ? Status() : disks_error();
}

Status parse_end64(std::span<const std::byte> bytes, ZipEnd& end) {
  ZipFields fields(bytes);
  // Its size counts neither the signature nor itself: 12 bytes.
  if (fields.u32() != kEnd64Signature || fields.u64() != kEnd64Bytes - 12) {
    return {ZipError::kZip64Mismatch, "no zip64 end record where its locator points to"};
  }
  fields.skip(4);                       // the versions that made it and that it needs
  const uint64_t disks = fields.u64();  // two numbers: of this disk and of the directory's first
  const uint64_t records_on_disk = fields.u64();
  end.records = fields.u64();
  end.directory_bytes = fields.u64();
  end.directory_offset = fields.u64();
  return disks == 0 && records_on_disk == end.records ? Status() : disks_error();
}

Status compare(const PlainEnd& plain, const ZipEnd& end) {
  // A full number says that the zip64 record has the real one.
  if (plain.records != kFull16 && plain.records != end.records) {
    return mismatch("number of records", end.records, plain.records);
  }
  if (plain.directory_bytes != kFull32 && plain.directory_bytes != end.directory_bytes) {
    return mismatch("size of the directory", end.directory_bytes, plain.directory_bytes);
  }
  if (plain.directory_offset != kFull32 && plain.directory_offset != end.directory_offset) {
    return mismatch("offset of the directory", end.directory_offset, plain.directory_offset);
  }
  return {};
}

// Reads the locator in front of the end record, and what it points to. False if there is none.
Result<bool> read_end64(const InputFile& file, ZipEnd& end) {
  if (file.size() < kEndBytes + kLocatorBytes + kEnd64Bytes) return false;
  // torch writes the three records without anything between them.
  const uint64_t at = file.size() - kEndBytes - kLocatorBytes - kEnd64Bytes;
  std::array<std::byte, kEnd64Bytes + kLocatorBytes> bytes{};
  WINNOW_RETURN_IF_ERROR(file.read(at, bytes));
  ZipFields locator{std::span(bytes).subspan(kEnd64Bytes)};
  if (locator.u32() != kLocatorSignature) return false;
  if (locator.u32() != 0) return disks_error();  // the disk that the record is on
  if (const uint64_t found = locator.u64(); found != at) {
    return Status(ZipError::kZip64Mismatch,
                  concat("the zip64 end record is said to be at ", found, ", its place is ", at));
  }
  if (locator.u32() != 1) return disks_error();  // how many there are
  WINNOW_RETURN_IF_ERROR(parse_end64(std::span(bytes).first(kEnd64Bytes), end));
  return true;
}

Status check_directory(const ZipEnd& end, uint64_t directory_end, uint64_t max_records) {
  // By differences: sums of numbers from a file may wrap.
  if (end.directory_offset > directory_end ||
      directory_end - end.directory_offset != end.directory_bytes) {
    return {ZipError::kZipDirectory,
            concat("the directory is said to have ", end.directory_bytes, " bytes from ",
                   end.directory_offset, " on, and has to end at ", directory_end)};
  }
  if (end.records > max_records || end.directory_bytes > kMaxDirectoryBytes) {
    return {ZipError::kZipRecordCount,
            concat(end.records, " records in a directory of ", end.directory_bytes,
                   " bytes; at most ", max_records, " in ", kMaxDirectoryBytes, " are allowed")};
  }
  return {};
}

}  // namespace

Result<ZipEnd> read_zip_end(const InputFile& file, uint64_t max_records) {
  if (file.size() < kEndBytes) return end_error("the file is too short");
  std::array<std::byte, kEndBytes> bytes{};
  WINNOW_RETURN_IF_ERROR(file.read(file.size() - kEndBytes, bytes));
  PlainEnd plain;
  WINNOW_RETURN_IF_ERROR(parse_end(bytes, plain));
  ZipEnd end;
  WINNOW_ASSIGN_OR_RETURN(const bool has_zip64, read_end64(file, end));
  uint64_t directory_end = file.size() - kEndBytes;
  if (has_zip64) {
    directory_end -= kLocatorBytes + kEnd64Bytes;
    WINNOW_RETURN_IF_ERROR(compare(plain, end));
  } else {
    end = {plain.records, plain.directory_bytes, plain.directory_offset};
  }
  WINNOW_RETURN_IF_ERROR(check_directory(end, directory_end, max_records));
  return end;
}

}  // namespace winnow::io
