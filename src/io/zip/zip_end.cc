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

// The numbers that both end records have, of 64 bits in one and shorter in the other. Whether they
// are those of a single disk.
bool read_numbers(ZipFields& fields, bool wide, ZipEnd& end) {
  // Two disks in one: the one that this is, and the one that the directory begins on.
  const uint64_t disks = wide ? fields.u64() : fields.u32();
  const uint64_t records_on_disk = wide ? fields.u64() : fields.u16();
  end.records = wide ? fields.u64() : fields.u16();
  end.directory_bytes = wide ? fields.u64() : fields.u32();
  end.directory_offset = wide ? fields.u64() : fields.u32();
  return disks == 0 && records_on_disk == end.records;
}

Status parse_end(std::span<const std::byte> bytes, ZipEnd& end) {
  ZipFields fields(bytes);
  if (fields.u32() != kEndSignature) return end_error("cut short, or bytes behind it");
  const bool one_disk = read_numbers(fields, /*wide=*/false, end);
  // Behind a comment the record would have to be searched for, and could be found twice.
  if (fields.u16() != 0) return end_error("it has a comment");
  return one_disk ? Status() : disks_error();
}

Status parse_end64(std::span<const std::byte> bytes, ZipEnd& end) {
  ZipFields fields(bytes);
  // Its size counts neither the signature nor itself: 12 bytes.
  if (fields.u32() != kEnd64Signature || fields.u64() != kEnd64Bytes - 12) {
    return {ZipError::kZip64Mismatch, "no zip64 end record where its locator points to"};
  }
  fields.skip(4);  // the versions that made it and that it needs
  return read_numbers(fields, /*wide=*/true, end) ? Status() : disks_error();
}

// A full number in the plain record says that the zip64 record has the real one.
Status compare(const ZipEnd& plain, const ZipEnd& zip64) {
  const struct {
    std::string_view what;
    uint64_t plain, full, zip64;
  } numbers[] = {
      {"number of records", plain.records, kFull16, zip64.records},
      {"size of the directory", plain.directory_bytes, kFull32, zip64.directory_bytes},
      {"offset of the directory", plain.directory_offset, kFull32, zip64.directory_offset},
  };
  for (const auto& number : numbers) {
    if (number.plain == number.full || number.plain == number.zip64) continue;
    return {ZipError::kZip64Mismatch, concat("the zip64 end record has ", number.zip64, " as the ",
                                             number.what, ", the end record ", number.plain)};
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
  ZipEnd plain, end;
  WINNOW_RETURN_IF_ERROR(parse_end(bytes, plain));
  WINNOW_ASSIGN_OR_RETURN(const bool has_zip64, read_end64(file, end));
  if (!has_zip64) end = plain;
  WINNOW_RETURN_IF_ERROR(compare(plain, end));
  const uint64_t directory_end =
      file.size() - kEndBytes - (has_zip64 ? kLocatorBytes + kEnd64Bytes : 0);
  WINNOW_RETURN_IF_ERROR(check_directory(end, directory_end, max_records));
  return end;
}

}  // namespace winnow::io
