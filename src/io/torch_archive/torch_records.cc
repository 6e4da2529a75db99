#include "io/torch_archive/torch_records.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "io/file/file_kind.h"
#include "io/torch_tree/torch_names.h"
#include "io/zip/zip_format.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

// The longest that torch writes is serialization_id, of 40 digits.
constexpr size_t kMaxSmallBytes = 64;

// A chunk stays in the second-level cache between the read and its CRC.
constexpr size_t kChunkBytes = 256 << 10;

constexpr std::string_view kPayloadFolder = "data/";
constexpr std::string_view kPickleName = "data.pkl";
constexpr std::string_view kVersionName = "version";

// N of "data/N".
std::optional<uint64_t> payload_number(std::string_view name) {
  if (!name.starts_with(kPayloadFolder)) return std::nullopt;
  return parse_storage_number(name.substr(kPayloadFolder.size()));
}

Status check_version(std::string_view text, std::string_view supported) {
  if (text == supported) return {};
  return {TorchArchiveError::kArchiveVersion,
          concat("\"", escape_name(text), "\" is found, ", supported,
                 " is the version that is supported")};
}

Status check_byteorder(std::string_view text) {
  if (text == "little") return {};
  if (text == "big") {
    return {TorchArchiveError::kBigEndian, "the archive was saved on a big-endian machine"};
  }
  return {TorchArchiveError::kBadRecord, concat("\"", escape_name(text), "\" is no byte order")};
}

Status check_number(std::string_view text) {
  if (!text.empty() && text.find_first_not_of("0123456789") == text.npos) return {};
  return {TorchArchiveError::kBadRecord, concat("\"", escape_name(text), "\" is no number")};
}

struct SmallRecord {
  std::string_view name;
  Status (*check)(std::string_view text);
};

constexpr SmallRecord kSmallRecords[] = {
    {kVersionName, [](std::string_view t) { return check_version(t == "3\n" ? "3" : t, "3"); }},
    {"byteorder", check_byteorder},
    {".format_version", [](std::string_view t) { return check_version(t, "1"); }},
    {".storage_alignment", check_number},
    {".data/serialization_id", check_number},
};

Status check_size(const TorchRecord& record, size_t max_bytes) {
  if (record.bytes <= max_bytes) return {};
  return {TorchArchiveError::kRecordTooLarge,
          concat("it has ", record.bytes, " bytes, at most ", max_bytes, " are allowed")};
}

Status check_small(const InputFile& file, const SmallRecord& small, const TorchRecord& record,
                   bool has_checksum) {
  WINNOW_RETURN_IF_ERROR(check_size(record, kMaxSmallBytes));
  std::string text(record.bytes, '\0');
  WINNOW_RETURN_IF_ERROR(
      read_record(file, record, has_checksum, std::as_writable_bytes(std::span(text))));
  return small.check(text);
}

Status check_torch_script(std::span<const ZipRecord> records) {
  for (const ZipRecord& record : records) {
    const std::string_view name = record.name;
    // The prefix is not checked yet; whatever stands before the first slash is left out.
    const std::string_view inner = name.substr(std::min(name.find('/'), name.size() - 1) + 1);
    if (inner != "constants.pkl" && !inner.starts_with("code/")) continue;
    return {TorchArchiveError::kTorchScript,
            concat("the record \"", escape_name(name),
                   "\" tells of a TorchScript module, which is code. Of Python: save its "
                   "state_dict with torch.save. Of C++'s torch::save: read it with torch::load")};
  }
  return {};
}

// Finds out by its name what a record is.
Status sort_record(const InputFile& file, uint32_t index, TorchRecords& out) {
  const TorchRecord& record = out.all[index];
  const auto* small = std::ranges::find(kSmallRecords, record.name, &SmallRecord::name);
  if (small != std::end(kSmallRecords)) {
    return check_small(file, *small, record, out.has_checksums);
  }
  // By number, as the pickle refers to them; the order in the file is free.
  if (const auto number = payload_number(record.name)) {
    out.payloads.push_back({*number, index});
    return {};
  }
  if (record.name != kPickleName) {
    return {TorchArchiveError::kUnknownRecord, "archives of torch.save have no such record"};
  }
  out.pickle = index;
  return check_size(record, kMaxPickleBytes);
}

// Takes the prefix off a record's name; the first record sets it.
Status strip_prefix(std::string& name, std::string& prefix) {
  const size_t slash = name.find('/');
  const std::string_view found = std::string_view(name).substr(0, slash);
  if (slash != name.npos && prefix.empty()) prefix = found;
  if (slash == name.npos || found != prefix) {
    return {ZipError::kZipPrefix,
            concat("record \"", escape_name(name), "\": it is not in the folder \"",
                   escape_name(prefix), "\", where the first record is")};
  }
  name.erase(0, slash + 1);
  return {};
}

Status check_checksums(TorchRecords& records, const TorchOpenOptions& options) {
  const auto has_crc = [](const TorchRecord& record) { return record.crc32 != 0; };
  const auto is_empty = [](const TorchRecord& record) { return record.bytes == 0; };
  // torch writes 0 as every CRC after set_crc32_options(False). With checksums that cannot be: the
  // record "version" has another one, whichever its text.
  records.has_checksums =
      std::ranges::any_of(records.all, has_crc) || std::ranges::all_of(records.all, is_empty);
  if (records.has_checksums || options.allow_missing_checksums) return {};
  return {TorchArchiveError::kNoChecksums,
          "it was written without checksums, as torch.save does after "
          "torch.serialization.set_crc32_options(False), so damage would go unnoticed; save it "
          "again with checksums, or allow missing checksums where it is opened"};
}

Status require_record(const TorchRecords& records, std::string_view name) {
  if (std::ranges::find(records.all, name, &TorchRecord::name) != records.all.end()) return {};
  return {TorchArchiveError::kMissingRecord, concat("there is no record \"", name, "\"")};
}

Status name_records(ZipDirectory directory, TorchRecords& out) {
  out.all.reserve(directory.records.size());
  out.places.reserve(directory.records.size());
  // torch takes the name of the file that was saved, which may have been renamed since.
  std::string prefix;
  for (ZipRecord& record : directory.records) {
    WINNOW_RETURN_IF_ERROR(strip_prefix(record.name, prefix));
    out.places.push_back({.header = record.header_offset,
                          .central = record.central_offset,
                          .has_descriptor = (record.flags & kFlagDescriptor) != 0});
    out.all.push_back({std::move(record.name), record.payload_offset, record.bytes, record.crc32});
  }
  return {};
}

Status check_front(const InputFile& file) {
  constexpr size_t kTarMagicAt = 257;  // of POSIX tar, in the first block
  constexpr std::string_view kTarMagic = "ustar";
  WINNOW_ASSIGN_OR_RETURN(const std::string front, file.read_front(kFrontBytes));
  // First: any bytes may stand at the tar's magic, the name of a parameter among them.
  if (is_zip(front)) return {};
  // Early versions of torch wrote tars, later ones plain pickles.
  const bool is_tar =
      front.size() > kTarMagicAt && front.compare(kTarMagicAt, kTarMagic.size(), kTarMagic) == 0;
  // The length of a safetensors header may begin with a pickle's first byte.
  const bool is_pickle =
      front.starts_with('\x80') && front.size() > 1 && front[1] >= 1 && front[1] <= 5;
  if ((is_pickle && !is_safetensors(front)) || is_tar) {
    return {TorchArchiveError::kLegacyArchive,
            "this was saved in the format before torch 1.6; save it again with "
            "torch.save(torch.load(path, weights_only=True), path)"};
  }
  std::string message = file_kind_message(std::as_bytes(std::span(front)), "torch archive");
  if (message.empty()) message = "this is no torch archive: it does not start as a zip file does";
  return {ZipError::kNotZip, std::move(message)};
}

// Reads a record chunk by chunk into `room(done, bytes)`, and verifies its CRC.
template <typename Room>
Status read_chunks(const InputFile& file, const TorchRecord& record, bool has_checksum,
                   const Room& room) {
  uint32_t crc = 0;
  for (uint64_t done = 0; done < record.bytes;) {
    const std::span<std::byte> chunk =
        room(done, std::min<uint64_t>(kChunkBytes, record.bytes - done));
    WINNOW_RETURN_IF_ERROR(file.read(record.offset + done, chunk));
    if (has_checksum) crc = crc32(crc, chunk);
    done += chunk.size();
  }
  return compare_crc(record, has_checksum, crc);
}

}  // namespace

Result<TorchRecords> read_torch_records(const InputFile& file, const TorchOpenOptions& options) {
  // First: of a file that is no zip at all, the end would give a misleading error.
  WINNOW_RETURN_IF_ERROR(check_front(file));
  WINNOW_ASSIGN_OR_RETURN(ZipDirectory directory, read_zip_directory(file, kMaxTorchRecords));
  // First: TorchScript's code is compressed, which would be the less helpful error.
  WINNOW_RETURN_IF_ERROR(check_torch_script(directory.records));
  WINNOW_RETURN_IF_ERROR(check_zip_records(file, directory));
  TorchRecords out;
  WINNOW_RETURN_IF_ERROR(name_records(std::move(directory), out));
  WINNOW_RETURN_IF_ERROR(check_checksums(out, options));
  for (uint32_t i = 0; i < out.all.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(
        sort_record(file, i, out)
            .with_context(concat("record \"", escape_name(out.all[i].name), "\"")));
  }
  // So that they can be matched with the storages in one pass.
  std::ranges::sort(out.payloads, {}, &PayloadRecord::number);
  // Behind the loop: a record that is there and wrong is the better error.
  WINNOW_RETURN_IF_ERROR(require_record(out, kPickleName));
  WINNOW_RETURN_IF_ERROR(require_record(out, kVersionName));
  return out;
}

Status compare_crc(const TorchRecord& record, bool has_checksum, uint32_t crc) {
  if (!has_checksum || crc == record.crc32) return {};
  return {ZipError::kZipCrc, concat("its CRC-32 is ", crc, ", and ", record.crc32,
                                    " was written: the file is damaged")};
}

Status read_record(const InputFile& file, const TorchRecord& record, bool has_checksum,
                   std::span<std::byte> out) {
  return read_chunks(file, record, has_checksum,
                     [&](uint64_t done, size_t bytes) { return out.subspan(done, bytes); });
}

Status check_record(const InputFile& file, const TorchRecord& record, bool has_checksum) {
  std::vector<std::byte> buffer(std::min<uint64_t>(kChunkBytes, record.bytes));
  return read_chunks(file, record, has_checksum,
                     [&](uint64_t, size_t bytes) { return std::span(buffer).first(bytes); });
}

}  // namespace winnow::io
