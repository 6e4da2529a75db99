#include <algorithm>

#include "base/status_macros.h"
#include "io/zip/zip_format.h"
#include "io/zip/zip_reader.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

// The fixed part of a central header, behind its signature.
struct CentralHeader : HeaderFields {
  uint16_t comment_bytes;
  uint16_t disk;
  uint32_t attributes;
  uint32_t offset;

  explicit CentralHeader(ZipFields fields) {
    fields.skip(2);  // the version that made it
    read(fields);
    comment_bytes = fields.u16();
    disk = fields.u16();
    fields.skip(2);  // internal attributes
    attributes = fields.u32();
    offset = fields.u32();
  }
};

// Whoever extracts the archive must not write outside of its folder.
Status check_name(std::string_view name) {
  const auto error = [&name](std::string_view what) {
    return Status(ZipError::kZipName,
                  concat("a record is called \"", escape_name(name), "\": ", what));
  };
  if (find_invalid_utf8(name) != name.size()) return error("that is not UTF-8");
  if (name.find('\0') != name.npos) return error("a NUL is not allowed");
  if (name.find('\\') != name.npos) return error("a backslash is not allowed");
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return error("a part of it is empty or dots");
    begin = end + 1;
  }
  return {};
}

Status check_header(const CentralHeader& header) {
  if ((header.flags & ~(kFlagDescriptor | kFlagUtf8)) != 0) {
    return {ZipError::kZipFlags,
            concat("its flags are ", header.flags,
                   header.flags & 1 ? ": it is encrypted" : "; torch sets 8 and 2048 only")};
  }
  if (header.version > kMaxVersion) {
    return {ZipError::kZipFlags, concat("it needs version ", header.version, " of the format")};
  }
  // torch reads nothing of such a record (2.13 and 2.14), and loads what was in its memory before.
  if ((header.attributes & kAttributeFolder) != 0) {
    return {ZipError::kZipFlags, "its attributes say that it is a folder"};
  }
  if (header.comment_bytes != 0) return {ZipError::kZipExtra, "it has a comment"};
  if (header.disk != 0) return {ZipError::kZipDisks, "it is on another disk"};
  return {};
}

// Numbers that are full stand in the zip64 field instead, which has no others.
Status resolve_zip64(const CentralHeader& header, const ZipExtra& extra, ZipRecord& record) {
  const bool big_sizes = header.bytes == kFull32, big_offset = header.offset == kFull32;
  record.bytes = header.bytes;
  record.header_offset = header.offset;
  const size_t expected = (big_sizes ? 16 : 0) + (big_offset ? 8 : 0);
  if (extra.zip64.size() != expected || extra.has_zip64 != (expected > 0)) {
    return {ZipError::kZip64Mismatch, concat("its zip64 field has ", extra.zip64.size(),
                                             " bytes where ", expected, " are called for")};
  }
  ZipFields fields(extra.zip64);
  if (big_sizes) {
    record.bytes = fields.u64();
    // is_stored compares the numbers of 32 bits, which are both full here.
    if (fields.u64() != record.bytes) {
      return {ZipError::kZip64Mismatch, "its zip64 field has two sizes, and it has to be stored"};
    }
  }
  if (big_offset) record.header_offset = fields.u64();
  // For the comparison with the record's own header, where torch repeats the field.
  record.zip64.assign(extra.zip64.begin(), extra.zip64.end());
  return {};
}

Status fill_record(const CentralHeader& header, std::span<const std::byte> extra_bytes,
                   ZipRecord& record) {
  WINNOW_RETURN_IF_ERROR(check_header(header));
  WINNOW_ASSIGN_OR_RETURN(const ZipExtra extra, parse_extra(extra_bytes, /*is_local=*/false));
  WINNOW_RETURN_IF_ERROR(resolve_zip64(header, extra, record));
  record.crc32 = header.crc32;
  record.flags = header.flags;
  record.is_stored = header.method == kMethodStored && header.stored_bytes == header.bytes;
  return {};
}

// Takes the next record off the front of `rest`.
Status take_record(std::span<const std::byte>& rest, ZipRecord& record) {
  ZipFields fields(rest);
  if (rest.size() < kCentralBytes || fields.u32() != kCentralSignature) {
    return {ZipError::kZipHeader, "the directory holds something that is no record's header"};
  }
  const CentralHeader header(fields);
  const size_t total =
      kCentralBytes + header.name_bytes + header.extra_bytes + header.comment_bytes;
  if (total > rest.size()) {
    return {ZipError::kZipHeader, "the directory's last header is cut short"};
  }
  const auto name = rest.subspan(kCentralBytes, header.name_bytes);
  record.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  WINNOW_RETURN_IF_ERROR(check_name(record.name));
  const auto extra = rest.subspan(kCentralBytes + header.name_bytes, header.extra_bytes);
  WINNOW_RETURN_IF_ERROR(fill_record(header, extra, record)
                             .with_context(concat("record \"", escape_name(record.name), "\"")));
  rest = rest.subspan(total);
  return {};
}

Status check_names(std::span<const ZipRecord> records) {
  std::vector<std::string_view> names;
  names.reserve(records.size());
  for (const ZipRecord& record : records) names.push_back(record.name);
  // Not a hash table, which names can be made to collide in.
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice == names.end()) return {};
  return {ZipError::kZipDuplicate,
          concat("there are two records called \"", escape_name(*twice), "\"")};
}

}  // namespace

Result<ZipExtra> parse_extra(std::span<const std::byte> bytes, bool is_local) {
  ZipExtra extra;
  bool has_padding = false;
  const auto cut_short = [] { return Status(ZipError::kZipExtra, "an extra field is cut short"); };
  while (!bytes.empty()) {
    if (bytes.size() < kExtraHeaderBytes) return cut_short();
    ZipFields fields(bytes);
    const uint16_t id = fields.u16();
    const uint16_t size = fields.u16();
    bytes = bytes.subspan(kExtraHeaderBytes);
    if (size > bytes.size()) return cut_short();
    const bool is_padding = is_local && id == kPaddingField;
    bool& seen = is_padding ? has_padding : extra.has_zip64;
    if ((id != kZip64Field && !is_padding) || seen) {
      return Status(ZipError::kZipExtra,
                    concat("it has the extra field ", id, seen ? " twice" : ""));
    }
    seen = true;
    // The padding's content means nothing.
    if (!is_padding) extra.zip64 = bytes.first(size);
    bytes = bytes.subspan(size);
  }
  return extra;
}

Result<ZipDirectory> read_zip_directory(const InputFile& file, uint64_t max_records) {
  WINNOW_ASSIGN_OR_RETURN(const ZipEnd end, read_zip_end(file, max_records));
  std::vector<std::byte> bytes(end.directory_bytes);
  WINNOW_RETURN_IF_ERROR(file.read(end.directory_offset, bytes));
  ZipDirectory out;
  out.offset = end.directory_offset;
  // The count is a claim; the directory's bytes are there.
  out.records.reserve(std::min<uint64_t>(end.records, bytes.size() / kCentralBytes));
  std::span<const std::byte> rest = bytes;
  while (!rest.empty() && out.records.size() < end.records) {
    ZipRecord& record = out.records.emplace_back();
    record.central_offset = end.directory_offset + (bytes.size() - rest.size());
    WINNOW_RETURN_IF_ERROR(take_record(rest, record));
  }
  if (!rest.empty() || out.records.size() < end.records) {
    return Status(
        ZipError::kZipRecordCount,
        concat("the end record counts ", end.records, " records, and the directory holds ",
               rest.empty() ? std::to_string(out.records.size()) : "more"));
  }
  WINNOW_RETURN_IF_ERROR(check_names(out.records));
  // check_zip_records goes through the file from its front.
  std::ranges::sort(out.records, std::ranges::less(), &ZipRecord::header_offset);
  return out;
}

}  // namespace winnow::io
