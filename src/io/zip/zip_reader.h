// Private: the structure of a zip file whose records are stored, checked so that no two readers can
// see different records in it: headers and directory agree, and the records fill the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/input_file.h"

namespace winnow::io {

/// One record, as the directory has it.
struct ZipRecord {
  std::string name;
  uint64_t header_offset = 0;
  uint64_t payload_offset = 0;  ///< set by check_zip_records
  uint64_t central_offset = 0;  ///< of its header in the directory
  uint64_t bytes = 0;
  uint32_t crc32 = 0;
  uint16_t flags = 0;
  bool is_stored = false;
  std::vector<std::byte> zip64;  ///< the content of its zip64 field, mostly none
};

struct ZipDirectory {
  uint64_t offset = 0;  ///< where it begins: the end of the records
  std::vector<ZipRecord> records;
};

/// The directory's place and size, as the end records have them.
struct ZipEnd {
  uint64_t records = 0;
  uint64_t directory_bytes = 0;
  uint64_t directory_offset = 0;
};

/// The fields of a record's header that ask for a look.
struct ZipExtra {
  bool has_zip64 = false;
  std::span<const std::byte> zip64;  ///< its content
};

/// kZipExtra: a field other than zip64 and, in a local header, torch's padding; one that is cut
/// short or there twice.
Result<ZipExtra> parse_extra(std::span<const std::byte> bytes, bool is_local);

/// Reads the end records. kZipEnd, kZipDisks, kZip64Mismatch, kZipDirectory; kZipRecordCount for
/// more than `max_records`.
Result<ZipEnd> read_zip_end(const InputFile& file, uint64_t max_records);

/// Reads the directory; records in the order of their offsets, names checked and none twice. That
/// they are stored is left to check_zip_records: the names may tell more than that.
Result<ZipDirectory> read_zip_directory(const InputFile& file, uint64_t max_records);

/// Checks that each record is stored, compares its own header and descriptor, which are read, with
/// the directory, and checks that the records fill the file up to the directory.
Status check_zip_records(const InputFile& file, ZipDirectory& directory);

}  // namespace winnow::io
