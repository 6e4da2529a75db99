#include <algorithm>
#include <array>
#include <vector>

#include "base/status_macros.h"
#include "io/zip/zip_format.h"
#include "io/zip/zip_reader.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

struct LocalHeader : HeaderFields {
  explicit LocalHeader(ZipFields fields) { read(fields); }
  size_t total() const { return kLocalBytes + name_bytes + extra_bytes; }
};

Status mismatch(std::string_view what) {
  return {ZipError::kZipLocalMismatch,
          concat("its header has another ", what, " than the directory")};
}

// A zip64 field without sizes in it, or with sizes that follow the payload: torch copies that of
// the directory.
Status compare_zip64(const ZipRecord& record, const ZipExtra& extra) {
  const bool is_same =
      extra.has_zip64 == !record.zip64.empty() && std::ranges::equal(extra.zip64, record.zip64);
  if (is_same) return {};
  return {ZipError::kZip64Mismatch, "its header has another zip64 field than the directory"};
}

// A header in front of its payload that knows CRC and sizes.
Status compare_plain(const ZipRecord& record, const LocalHeader& local, const ZipExtra& extra) {
  if (local.crc32 != record.crc32) return mismatch("CRC");
  if (local.bytes == kFull32 && local.stored_bytes == kFull32 && extra.zip64.size() == 16) {
    ZipFields fields(extra.zip64);
    const bool same = fields.u64() == record.bytes && fields.u64() == record.bytes;
    return same ? Status() : mismatch("size");
  }
  if (local.bytes != record.bytes || local.stored_bytes != record.bytes) return mismatch("size");
  // With sizes in place, the directory's field holds the offset, which no header needs.
  if (!extra.has_zip64 && local.bytes != kFull32) return {};
  return compare_zip64(record, extra);
}

// A header that leaves CRC and sizes to the descriptor. torch writes its zip64 field with the size
// of the payload and, where the stored size belongs, 0.
Status compare_deferred(const ZipRecord& record, const LocalHeader& local, const ZipExtra& extra) {
  if (local.crc32 != 0 || local.bytes != 0 || local.stored_bytes != 0) {
    return mismatch("CRC or size (0 is expected, with a descriptor)");
  }
  auto deferred = record.zip64;
  if (deferred.size() >= 16) std::fill_n(deferred.begin() + 8, 8, std::byte{0});
  if (std::ranges::equal(extra.zip64, deferred)) return {};
  return compare_zip64(record, extra);
}

// Checks one record, and moves `cursor` from its begin to its end.
class RecordCheck {
 public:
  RecordCheck(const InputFile& file, uint64_t directory_offset)
      : file_(file), limit_(directory_offset) {}

  Status run(ZipRecord& record) {
    if (!record.is_stored) {
      return {ZipError::kZipCompressed, "it is compressed, and has to be stored"};
    }
    WINNOW_RETURN_IF_ERROR(check_place(record));
    WINNOW_ASSIGN_OR_RETURN(const LocalHeader local, read_header(record));
    WINNOW_ASSIGN_OR_RETURN(const ZipExtra extra, compare_header(record, local));
    record.payload_offset = record.header_offset + local.total();
    const auto end = checked_add(record.payload_offset, record.bytes);
    if (!end || *end > limit_) return past_end();
    cursor_ = *end;
    return (record.flags & kFlagDescriptor) == 0 ? Status() : check_descriptor(record, extra);
  }

  Status check_end() const {
    if (cursor_ == limit_) return {};
    return {ZipError::kZipHole, concat("the bytes from ", cursor_, " to the directory at ", limit_,
                                       " belong to no record")};
  }

 private:
  Status past_end() const {
    return {ZipError::kZipPastEnd, concat("it ends behind the directory's start at ", limit_)};
  }

  Status check_place(const ZipRecord& record) const {
    // Records come in the order of their offsets: each begins where the one before ended.
    const std::string place =
        concat("it starts at ", record.header_offset, ", and the record before ends at ", cursor_);
    if (record.header_offset >= limit_) return past_end();
    if (record.header_offset < cursor_) return {ZipError::kZipOverlap, place};
    if (record.header_offset > cursor_) return {ZipError::kZipHole, place};
    return {};
  }

  // Reads all of the header into buffer_, mostly in one call, and returns the fixed part.
  Result<LocalHeader> read_header(const ZipRecord& record) {
    constexpr size_t kUsualExtraBytes = 128;  // torch pads to 64 bytes
    const uint64_t room = limit_ - record.header_offset;
    const size_t guess = kLocalBytes + record.name.size() + kUsualExtraBytes;
    buffer_.resize(std::min<uint64_t>(guess, room));
    if (buffer_.size() < kLocalBytes) return past_end();
    WINNOW_RETURN_IF_ERROR(file_.read(record.header_offset, buffer_));
    ZipFields fields(buffer_);
    if (fields.u32() != kLocalSignature) {
      return Status(ZipError::kZipHeader, concat("no header at ", record.header_offset));
    }
    const LocalHeader local(fields);
    if (local.total() > room) return past_end();
    if (local.total() > buffer_.size()) {
      buffer_.resize(local.total());
      WINNOW_RETURN_IF_ERROR(file_.read(record.header_offset, buffer_));
    }
    return local;
  }

  // Returns the header's extra fields.
  Result<ZipExtra> compare_header(const ZipRecord& record, const LocalHeader& local) const {
    const std::span<const std::byte> bytes = buffer_;
    const auto name = bytes.subspan(kLocalBytes, local.name_bytes);
    // A reader that walks from record to record sees this name, others the directory's.
    if (!std::ranges::equal(name, std::as_bytes(std::span(record.name)))) return mismatch("name");
    if (local.flags != record.flags) return mismatch("set of flags");
    if (local.method != kMethodStored) return mismatch("method");
    if (local.version > kMaxVersion) return mismatch("version");
    const auto fields = bytes.subspan(kLocalBytes + local.name_bytes, local.extra_bytes);
    WINNOW_ASSIGN_OR_RETURN(const ZipExtra extra, parse_extra(fields, /*is_local=*/true));
    const auto compare = (local.flags & kFlagDescriptor) == 0 ? compare_plain : compare_deferred;
    WINNOW_RETURN_IF_ERROR(compare(record, local, extra));
    return extra;
  }

  Status check_descriptor(const ZipRecord& record, const ZipExtra& extra) {
    std::array<std::byte, kDescriptor64Bytes> buffer{};
    const auto bytes =
        std::span(buffer).first(extra.has_zip64 ? kDescriptor64Bytes : kDescriptorBytes);
    if (limit_ - cursor_ < bytes.size()) return past_end();
    WINNOW_RETURN_IF_ERROR(file_.read(cursor_, bytes));
    cursor_ += bytes.size();
    ZipFields fields(bytes);
    // Sizes have 64 bits if the header has a zip64 field.
    const auto next_size = [&] { return extra.has_zip64 ? fields.u64() : fields.u32(); };
    const bool is_same = fields.u32() == kDescriptorSignature && fields.u32() == record.crc32 &&
                         next_size() == record.bytes && next_size() == record.bytes;
    return is_same ? Status() : mismatch("descriptor");
  }

  const InputFile& file_;
  uint64_t limit_;
  uint64_t cursor_ = 0;
  std::vector<std::byte> buffer_;  // one for all records, of which there may be a million
};

}  // namespace

Status check_zip_records(const InputFile& file, ZipDirectory& directory) {
  RecordCheck check(file, directory.offset);
  for (ZipRecord& record : directory.records) {
    WINNOW_RETURN_IF_ERROR(
        check.run(record).with_context(concat("record \"", escape_name(record.name), "\"")));
  }
  return check.check_end();
}

}  // namespace winnow::io
