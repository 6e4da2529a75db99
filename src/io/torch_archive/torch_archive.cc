#include "winnow/io/torch_archive.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "base/status_macros.h"
#include "io/torch_archive/torch_archive_state.h"
#include "io/torch_tree/torch_rows.h"
#include "io/torch_tree/torch_tensor_checks.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"

namespace winnow {
namespace {

// Copies `count` elements that are `stride` apart. Of a known size, each is one load and one store.
template <size_t kBytes>
void copy_row(const std::byte* from, uint64_t stride, uint64_t count, std::byte* to) {
  for (uint64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * kBytes, from + i * stride * kBytes, kBytes);
  }
}

// By the binary logarithm of an element's size, which the type limits to 8 bytes.
constexpr decltype(&copy_row<1>) kCopyRow[] = {copy_row<1>, copy_row<2>, copy_row<4>, copy_row<8>};

// Copies the elements, row-major, from the payload of the tensor's storage. `out` has room for
// exactly those; the tensor was checked.
void gather(const TorchTensor& tensor, std::span<const std::byte> payload,
            std::span<std::byte> out) {
  const size_t bytes = dtype_bits(tensor.dtype) / 8;
  const uint64_t elements = io::row_elements(tensor), stride = io::row_stride(tensor);
  std::byte* to = out.data();
  io::for_each_row(tensor, [&](uint64_t at) {
    const std::byte* from = payload.data() + at * bytes;
    // The usual case, and one call a row: rows of a slice lie in one piece.
    if (stride == 1) {
      std::memcpy(to, from, elements * bytes);
    } else {
      kCopyRow[std::countr_zero(bytes)](from, stride, elements, to);
    }
    to += elements * bytes;
  });
}

Status unreferenced(const TorchRecord& record) {
  return {TorchArchiveError::kUnreferencedRecord,
          concat("record \"", record.name, "\": no tensor refers to it")};
}

}  // namespace

Status TorchArchive::State::of_record(const TorchRecord& record, const Status& status) const {
  if (status.ok()) return status;
  return file.named(status.code() == ZipError::kZipCrc
                        ? status.with_context(concat("record \"", record.name, "\""))
                        : status);
}

Status TorchArchive::State::load(const TorchOpenOptions& options) try {
  WINNOW_ASSIGN_OR_RETURN(records, io::read_torch_records(file, options));
  WINNOW_RETURN_IF_ERROR(load_pickle(options).with_context("record \"data.pkl\""));
  return match_storages();
} catch (const std::bad_alloc&) {
  return {ErrorCode::kOutOfMemory, "not enough memory for the archive's records and values"};
}

Status TorchArchive::State::load_pickle(const TorchOpenOptions& options) {
  const TorchRecord& record = records.all[records.pickle];
  // Freed before storages are matched. Nothing of the result points into it.
  std::vector<std::byte> pickle(record.bytes);
  WINNOW_RETURN_IF_ERROR(io::read_record(file, record, records.has_checksums, pickle));
  WINNOW_ASSIGN_OR_RETURN(content, io::read_pickle(pickle, options.keep_unknown));
  return {};
}

// Takes out the payloads of storages of types that are not known.
Status TorchArchive::State::take_unknown(std::vector<io::PayloadRecord>& payloads) const {
  const std::vector<uint64_t>& numbers = content.unknown_numbers;
  for (const uint64_t number : numbers) {
    if (std::ranges::binary_search(payloads, number, {}, &io::PayloadRecord::number)) continue;
    return {TorchArchiveError::kMissingRecord, concat("there is no record \"data/", number, "\"")};
  }
  std::erase_if(payloads, [&numbers](const io::PayloadRecord& payload) {
    return std::ranges::binary_search(numbers, payload.number);
  });
  return {};
}

// Each storage has its record, and each payload its storage. Both are in the order of their
// numbers.
Status TorchArchive::State::match_storages() {
  // Taken out, so that their memory is free when the archive is open.
  std::vector<io::PayloadRecord> payloads = std::exchange(records.payloads, {});
  WINNOW_RETURN_IF_ERROR(take_unknown(payloads));
  storage_records.reserve(content.storages.size());
  for (size_t i = 0; i < content.storages.size(); ++i) {
    const uint64_t number = content.numbers[i];
    if (i == payloads.size() || payloads[i].number > number) {
      return {TorchArchiveError::kMissingRecord,
              concat("there is no record \"data/", number, "\"")};
    }
    const TorchRecord& record = records.all[payloads[i].index];
    if (payloads[i].number < number) return unreferenced(record);
    // torch maps a longer record without a word.
    if (record.bytes != content.storages[i].bytes()) {
      return {TorchArchiveError::kRecordSize,
              concat("record \"", record.name, "\" has ", record.bytes, " bytes, its storage ",
                     content.storages[i].bytes())};
    }
    storage_records.push_back(payloads[i].index);
  }
  if (payloads.size() == content.storages.size()) return {};
  return unreferenced(records.all[payloads[content.storages.size()].index]);
}

TorchArchive::TorchArchive(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
TorchArchive::TorchArchive(TorchArchive&& other) noexcept = default;
TorchArchive& TorchArchive::operator=(TorchArchive&& other) noexcept = default;
TorchArchive::~TorchArchive() = default;

Result<TorchArchive> TorchArchive::open(Env& env, const std::string& path,
                                        const TorchOpenOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(InputFile file, InputFile::open(env, path));
  return load(std::move(file), options);
}

Result<TorchArchive> TorchArchive::open(std::unique_ptr<RandomAccessFile> file,
                                        const std::string& name, const TorchOpenOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(InputFile input, InputFile::open(std::move(file), name));
  return load(std::move(input), options);
}

Result<TorchArchive> TorchArchive::load(InputFile file, const TorchOpenOptions& options) {
  auto state = std::make_unique<State>(std::move(file));
  const Status loaded = state->load(options);
  if (!loaded.ok()) return state->file.named(loaded);
  return TorchArchive(std::move(state));
}

const TorchTree& TorchArchive::tree() const noexcept { return state_->content.tree; }

std::span<const TorchStorage> TorchArchive::storages() const noexcept {
  return state_->content.storages;
}

const TorchRecord& TorchArchive::storage_record(size_t index) const noexcept {
  return state_->records.all[state_->storage_records[index]];
}

bool TorchArchive::opaque_uses(size_t index) const noexcept {
  return state_->content.opaque_uses[index];
}

uint64_t TorchArchive::pickle_bytes() const noexcept {
  return state_->records.all[state_->records.pickle].bytes;
}

bool TorchArchive::has_checksums() const noexcept { return state_->records.has_checksums; }

const FileIdentity& TorchArchive::identity() const noexcept { return state_->file.identity(); }

Status TorchArchive::read_storage(size_t index, std::span<std::byte> out) const {
  if (index >= storages().size() || out.size() != storages()[index].bytes()) {
    return {ErrorCode::kInvalidArgument,
            concat(state_->file.name(), ": ", out.size(), " bytes asked for as storage ", index,
                   " of ", storages().size())};
  }
  const TorchRecord& record = storage_record(index);
  return state_->of_record(record, io::read_record(state_->file, record, has_checksums(), out));
}

Status TorchArchive::read_range(size_t index, uint64_t offset, std::span<std::byte> out) const {
  const bool known = index < storages().size();
  const uint64_t bytes = known ? storages()[index].bytes() : 0;
  if (!known || offset > bytes || out.size() > bytes - offset) {
    return {ErrorCode::kInvalidArgument,
            concat(state_->file.name(), ": ", out.size(), " bytes at ", offset,
                   " asked for of storage ", index, ", which has ", bytes)};
  }
  return state_->file.read(storage_record(index).offset + offset, out);
}

Status TorchArchive::check_storage(size_t index) const {
  if (index >= storages().size()) {
    return {ErrorCode::kInvalidArgument,
            concat(state_->file.name(), ": storage ", index, " asked for, of ", storages().size())};
  }
  const TorchRecord& record = storage_record(index);
  return state_->of_record(record, io::check_record(state_->file, record, has_checksums()));
}

Status TorchArchive::read_tensor(const TorchTensor& tensor, std::span<std::byte> out) const try {
  // The caller may have built it: only tensors of tree() are known to be checked.
  WINNOW_RETURN_IF_ERROR(state_->file.named(io::check_tensor(tensor, storages())));
  // A view may repeat its elements, and so be larger than its storage and than 64 bits.
  const auto bytes = checked_mul(tensor.numel(), dtype_bits(tensor.dtype) / 8);
  if (bytes != out.size()) {
    return {ErrorCode::kInvalidArgument,
            concat(state_->file.name(), ": ", out.size(), " bytes asked for as a tensor of shape ",
                   io::shown_shape(tensor.shape))};
  }
  if (out.empty()) return {};
  const TorchStorage& storage = storages()[tensor.storage];
  // No second copy in memory.
  if (tensor.fills(storage)) return read_storage(tensor.storage, out);
  // All of it, since the CRC is that of the whole record.
  std::vector<std::byte> payload(storage.bytes());
  WINNOW_RETURN_IF_ERROR(read_storage(tensor.storage, payload));
  gather(tensor, payload, out);
  return {};
} catch (const std::bad_alloc&) {
  return {ErrorCode::kOutOfMemory,
          concat(state_->file.name(), ": not enough memory for a storage")};
}

Status TorchArchive::read_sparse(const TorchSparseTensor& tensor, std::span<int64_t> indices,
                                 std::span<std::byte> values) const try {
  WINNOW_RETURN_IF_ERROR(state_->file.named(io::check_sparse(tensor, storages())));
  WINNOW_RETURN_IF_ERROR(read_tensor(tensor.indices, std::as_writable_bytes(indices)));
  // Before the values: these may be large, and indices that are wrong make them useless.
  WINNOW_RETURN_IF_ERROR(state_->file.named(tensor.check_indices(indices)));
  return read_tensor(tensor.values, values);
} catch (const std::bad_alloc&) {
  return {ErrorCode::kOutOfMemory,
          concat(state_->file.name(), ": not enough memory to sort indices")};
}

Status TorchArchive::check_unchanged() const { return state_->file.check_unchanged(); }

}  // namespace winnow
