#include "winnow/io/torch_archive_copy.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/torch_archive/torch_archive_state.h"
#include "io/zip/zip_format.h"
#include "winnow/base/concat.h"

namespace winnow {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
// Where the CRC stands in a local header, a central one and a descriptor (zip_format.h).
constexpr uint64_t kLocalCrcAt = 14;
constexpr uint64_t kCentralCrcAt = 16;
constexpr uint64_t kDescriptorCrcAt = 4;

}  // namespace

struct TorchArchiveCopy::State {
  const TorchArchive& archive;
  const TorchArchive::State& input;
  AtomicFile file;
  std::vector<std::byte> buffer;
  std::vector<uint32_t> crcs = {};  // of the records that are written, by index
  // Of the record that is being written, so far: what was read, and what was written.
  uint32_t read_crc = 0;
  uint32_t written_crc = 0;
  bool is_replaced = false;
  bool is_finished = false;

  bool has_record() const { return crcs.size() < input.records.all.size(); }
  const TorchRecord& record() const { return input.records.all[crcs.size()]; }

  // Reads the next bytes of the input; the output is as far.
  Result<std::span<std::byte>> read(uint64_t end);
  Status copy_plain(uint64_t end);
  Status copy_payload(uint64_t end);
  Status copy_to(uint64_t end);
  Status replace(uint64_t offset, std::span<const std::byte> data);
  Status end_record();
  Status set_crcs();
  Status finish();
};

Result<std::span<std::byte>> TorchArchiveCopy::State::read(uint64_t end) {
  const auto chunk = std::span(buffer).first(std::min<uint64_t>(kChunkBytes, end - file.size()));
  WINNOW_RETURN_IF_ERROR(input.file.read(file.size(), chunk));
  return chunk;
}

// Headers, descriptors and the directory, as they are.
Status TorchArchiveCopy::State::copy_plain(uint64_t end) {
  while (file.size() < end) {
    WINNOW_ASSIGN_OR_RETURN(const auto chunk, read(end));
    WINNOW_RETURN_IF_ERROR(file.append(chunk));
  }
  return {};
}

Status TorchArchiveCopy::State::copy_payload(uint64_t end) {
  while (file.size() < end) {
    WINNOW_ASSIGN_OR_RETURN(const auto chunk, read(end));
    read_crc = io::crc32(read_crc, chunk);
    written_crc = is_replaced ? io::crc32(written_crc, chunk) : read_crc;
    WINNOW_RETURN_IF_ERROR(file.append(chunk));
  }
  return {};
}

// Copies up to `end`, an offset in the file.
Status TorchArchiveCopy::State::copy_to(uint64_t end) {
  while (has_record() && record().offset <= end) {
    const uint64_t payload_end = record().offset + record().bytes;
    WINNOW_RETURN_IF_ERROR(copy_plain(record().offset));
    WINNOW_RETURN_IF_ERROR(copy_payload(std::min(end, payload_end)));
    if (end < payload_end) return {};
    WINNOW_RETURN_IF_ERROR(end_record());
  }
  return copy_plain(end);
}

Status TorchArchiveCopy::State::replace(uint64_t offset, std::span<const std::byte> data) {
  WINNOW_RETURN_IF_ERROR(copy_to(offset));
  is_replaced = true;
  while (!data.empty()) {
    // Read all the same: the input's checksum is that of all its bytes.
    WINNOW_ASSIGN_OR_RETURN(const auto old, read(file.size() + data.size()));
    const auto part = data.first(old.size());
    read_crc = io::crc32(read_crc, old);
    written_crc = io::crc32(written_crc, part);
    WINNOW_RETURN_IF_ERROR(file.append(part));
    data = data.subspan(part.size());
  }
  return {};
}

Status TorchArchiveCopy::State::end_record() {
  const bool has_checksums = input.records.has_checksums;
  const Status checked = io::compare_crc(record(), has_checksums, read_crc);
  WINNOW_RETURN_IF_ERROR(input.of_record(record(), checked));
  crcs.push_back(has_checksums ? written_crc : record().crc32);
  read_crc = written_crc = 0;
  is_replaced = false;
  return {};
}

// The header in front of a payload that was appended, and the directory.
Status TorchArchiveCopy::State::set_crcs() {
  for (size_t i = 0; i < crcs.size(); ++i) {
    const TorchRecord& record = input.records.all[i];
    if (crcs[i] == record.crc32) continue;
    const io::RecordPlace& place = input.records.places[i];
    const std::string crc = io::ZipText().u32(crcs[i]).str();
    const uint64_t own = place.has_descriptor ? record.offset + record.bytes + kDescriptorCrcAt
                                              : place.header + kLocalCrcAt;
    for (const uint64_t at : {own, place.central + kCentralCrcAt}) {
      WINNOW_RETURN_IF_ERROR(file.rewrite(at, std::as_bytes(std::span(crc))));
    }
  }
  return {};
}

Status TorchArchiveCopy::State::finish() {
  if (is_finished) return {};
  is_finished = true;
  WINNOW_RETURN_IF_ERROR(copy_to(input.file.size()));
  return set_crcs();
}

TorchArchiveCopy::TorchArchiveCopy(std::unique_ptr<State> state) noexcept
    : state_(std::move(state)) {}
TorchArchiveCopy::TorchArchiveCopy(TorchArchiveCopy&& other) noexcept = default;
TorchArchiveCopy& TorchArchiveCopy::operator=(TorchArchiveCopy&& other) noexcept = default;
TorchArchiveCopy::~TorchArchiveCopy() = default;

Result<TorchArchiveCopy> TorchArchiveCopy::create(Env& env, const std::string& path,
                                                  const TorchArchive& archive,
                                                  AtomicFileOptions options) {
  options.size_hint = archive.identity().size;
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path, options));
  return TorchArchiveCopy(std::make_unique<State>(
      State{archive, *archive.state_, std::move(file), std::vector<std::byte>(kChunkBytes)}));
}

const std::string& TorchArchiveCopy::destination() const noexcept {
  return state_->file.destination();
}

Status TorchArchiveCopy::replace(size_t index, uint64_t offset, std::span<const std::byte> data) {
  const bool known = index < state_->archive.storages().size();
  const uint64_t bytes = known ? state_->archive.storages()[index].bytes() : 0;
  Status status;
  if (!known || offset > bytes || data.size() > bytes - offset) {
    status = {ErrorCode::kInvalidArgument, "replaced bytes that are not in a storage"};
  } else if (data.empty()) {
    return status;
  } else if (const uint64_t at = state_->archive.storage_record(index).offset + offset;
             state_->is_finished || at < state_->file.size()) {
    status = {ErrorCode::kInvalidArgument, "replaced bytes out of their order in the file"};
  } else {
    status = state_->replace(at, data);
  }
  if (!status.ok()) state_->file.abandon();
  return status;
}

Status TorchArchiveCopy::finish() {
  const Status status = state_->finish();
  if (!status.ok()) state_->file.abandon();
  return status;
}

Status TorchArchiveCopy::commit() {
  Status status = finish();
  if (status.ok()) status = state_->archive.check_unchanged();
  if (status.ok()) return state_->file.commit();
  state_->file.abandon();
  return status;
}

}  // namespace winnow
