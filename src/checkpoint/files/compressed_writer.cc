// The header of a container has the sizes of what follows it, and those are known last. So room for
// the longest possible header is left at the front, and the header goes there at the end, padded
// with spaces, as the format allows. How long that is follows from the input's header alone: equal
// input gives equal bytes.
#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <optional>

#include "base/status_macros.h"
#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/files/container.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors_writer.h"
#include "winnow/sparse/chunk_codec.h"
#include "winnow/sparse/compressed_tensor.h"

namespace winnow::checkpoint {
namespace {

constexpr size_t kLengthBytes = 8;
// A tensor whose first chunk is not at least 1 % smaller is stored as it is.
constexpr size_t kLeastGain = 100;
// Small tensors are encoded side by side, so many that the threads have work.
constexpr size_t kChunksAtOnce = 16;

TensorInfo header_entry(size_t bytes) {
  return {.name = std::string(kHeaderName),
          .dtype = DType::kU8,
          .shape = {bytes},
          .begin = 0,
          .end = bytes};
}

// Some values of one tensor on their way into the file.
struct PendingChunk {
  size_t tensor = 0;
  bool is_last = false;
  std::vector<std::byte> values;
  std::vector<std::byte> encoded;
  uint32_t value_crc = 0;
  Status status;  // of the encoder
};

class CompressedWriter final : public CheckpointWriter {
 public:
  CompressedWriter(AtomicFile file, SafetensorsHeader header, std::vector<bool> plain,
                   ParallelFor& threads, std::vector<ChunkEncoder> encoders)
      : file_(std::move(file)),
        header_(std::move(header)),
        order_(data_order(header_.tensors())),
        plain_(std::move(plain)),
        threads_(threads),
        encoders_(std::move(encoders)) {}

  // Leaves room for the header and writes the packed one.
  Status begin(const std::vector<std::byte>& packed, uint64_t data_bytes);

  const std::string& destination() const noexcept override { return file_.destination(); }
  Status append(std::span<const std::byte> data) override;
  Status finish() override;
  Status commit() override;
  uint64_t file_bytes() const noexcept override { return file_.size(); }

 private:
  const TensorInfo& current() const { return header_.tensors()[order_[at_]]; }
  bool may_compress(const TensorInfo& tensor, size_t index) const;
  uint64_t chunk_bytes(const TensorInfo& tensor) const;
  Metadata metadata() const;
  Result<size_t> header_room(size_t packed_bytes, uint64_t data_bytes) const;

  void skip_empty();
  Status add_chunk(bool is_last);
  Status flush();
  Status write_chunk(PendingChunk& chunk);
  Status end_tensor(size_t tensor);

  AtomicFile file_;
  SafetensorsHeader header_;
  std::vector<size_t> order_;
  std::vector<bool> plain_;  // by tensor
  ParallelFor& threads_;
  std::vector<ChunkEncoder> encoders_;
  size_t room_ = 0;  // of the header's text

  size_t at_ = 0;       // the tensor that comes next, in the order of the data
  uint64_t taken_ = 0;  // bytes of it that were appended
  std::vector<std::byte> buffer_;
  std::vector<PendingChunk> pending_;
  size_t pending_bytes_ = 0;

  std::vector<TensorInfo> entries_;  // of the output, in its order
  uint64_t tensor_begin_ = 0;        // in the output's data section
  std::optional<ChunkTable> table_;  // of the tensor that is being written, if it is compressed
  bool is_first_ = true;             // whether its first chunk is to come
};

bool CompressedWriter::may_compress(const TensorInfo& tensor, size_t index) const {
  const bool chosen = plain_.empty() || !plain_[index];
  return chosen && tensor.bytes() > 0 && tensor.shape.size() < kMaxRank;
}

uint64_t CompressedWriter::chunk_bytes(const TensorInfo& tensor) const {
  return chunk_values(row_of(tensor)) * element_bytes(tensor.dtype);
}

Metadata CompressedWriter::metadata() const {
  const uint64_t data = header_.tensors().empty() ? 0 : header_.tensors()[order_.back()].end;
  Metadata metadata = header_.metadata();
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("winnow."); });
  metadata.emplace_back(kCompressedKey, kCompressedVersion);
  metadata.emplace_back(kBytesKey, std::to_string(kLengthBytes + header_.text().size() + data));
  metadata.emplace_back(kZstdKey, zstd_version());
  return metadata;
}

// The size of the longest header that can come: each tensor by the longer of its two entries, with
// offsets that none exceeds. (Encoded chunks can be larger than raw ones, but by less than a 64th.)
Result<size_t> CompressedWriter::header_room(size_t packed_bytes, uint64_t data_bytes) const {
  const uint64_t most = data_bytes + data_bytes / 64 + packed_bytes + (uint64_t{1} << 20);
  const auto text_size = [](const TensorInfo& entry) {
    return safetensors_header_text(std::span(&entry, 1), {}).find_last_not_of(' ');  // not padded
  };
  std::vector<TensorInfo> longest = {header_entry(packed_bytes)};
  for (const size_t i : order_) {
    const TensorInfo& tensor = header_.tensors()[i];
    TensorInfo entries[] = {tensor, compressed_entry(tensor, tensor.bytes())};
    for (TensorInfo& entry : entries) entry.begin = entry.end = most;
    const bool second = may_compress(tensor, i) && text_size(entries[1]) > text_size(entries[0]);
    longest.push_back(std::move(entries[second]));
  }
  const size_t room = safetensors_header_text(longest, metadata()).size();
  if (room > kMaxHeaderBytes || metadata().size() > kMaxMetadataEntries) {
    return Status(
        ErrorCode::kInvalidArgument,
        concat("expected a header of up to ", kMaxHeaderBytes, " bytes and ", kMaxMetadataEntries,
               " entries of metadata for the compressed file, found ", room, " and ",
               metadata().size()));
  }
  return room;
}

Status CompressedWriter::begin(const std::vector<std::byte>& packed, uint64_t data_bytes) {
  const Result<size_t> room = header_room(packed.size(), data_bytes);
  if (!room.ok()) return room.status().with_context(escape_path(destination()));
  room_ = *room;
  const std::vector<std::byte> front(kLengthBytes + room_, std::byte{' '});
  WINNOW_RETURN_IF_ERROR(file_.append(front));
  WINNOW_RETURN_IF_ERROR(file_.append(packed));
  entries_.push_back(header_entry(packed.size()));
  tensor_begin_ = packed.size();
  skip_empty();
  return Status();
}

// Tensors without data are entries and nothing else.
void CompressedWriter::skip_empty() {
  for (; at_ < order_.size() && current().bytes() == 0; ++at_) entries_.push_back(current());
}

Status CompressedWriter::append(std::span<const std::byte> data) {
  while (!data.empty()) {
    if (at_ == order_.size()) {
      return {ErrorCode::kInvalidArgument, "appended more bytes than the header describes"};
    }
    const uint64_t step = chunk_bytes(current()), left = current().bytes() - taken_;
    const size_t room = std::min<uint64_t>(step, left + buffer_.size()) - buffer_.size();
    const auto part = data.first(std::min(room, data.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    taken_ += part.size();
    data = data.subspan(part.size());
    const bool is_last = taken_ == current().bytes();
    if (buffer_.size() == step || is_last) WINNOW_RETURN_IF_ERROR(add_chunk(is_last));
    if (!is_last) continue;
    taken_ = 0;
    if (++at_ == order_.size() || current().bytes() > 0) continue;
    WINNOW_RETURN_IF_ERROR(flush());  // the entries stand in the order of the data
    skip_empty();
  }
  return Status();
}

Status CompressedWriter::add_chunk(bool is_last) {
  pending_bytes_ += buffer_.size();
  PendingChunk& chunk = pending_.emplace_back();
  chunk.tensor = order_[at_];
  chunk.is_last = is_last;
  chunk.values = std::move(buffer_);
  buffer_.clear();
  const size_t enough = std::min(threads_.concurrency(), kChunksAtOnce) * chunk_bytes(current());
  const bool is_full = pending_.size() >= kChunksAtOnce * 4 || pending_bytes_ >= enough;
  return is_full ? flush() : Status();
}

Status encode(ChunkEncoder& encoder, const TensorInfo& tensor, PendingChunk& chunk) try {
  WINNOW_ASSIGN_OR_RETURN(const EncodedChunk encoded,
                          encoder.encode(chunk.values, tensor.dtype, row_of(tensor)));
  chunk.encoded.assign(encoded.bytes.begin(), encoded.bytes.end());
  chunk.value_crc = encoded.value_crc;
  return Status();
} catch (const std::bad_alloc&) {
  return {ErrorCode::kOutOfMemory, "not enough memory to compress"};
}

Status CompressedWriter::flush() {
  const size_t slots = std::min(encoders_.size(), pending_.size());
  threads_.run(slots, [&](size_t slot) {
    for (size_t i = slot; i < pending_.size(); i += slots) {
      PendingChunk& chunk = pending_[i];
      const TensorInfo& tensor = header_.tensors()[chunk.tensor];
      if (!may_compress(tensor, chunk.tensor)) continue;
      chunk.status = encode(encoders_[slot], tensor, chunk);
    }
  });
  for (PendingChunk& chunk : pending_) WINNOW_RETURN_IF_ERROR(write_chunk(chunk));
  pending_.clear();
  pending_bytes_ = 0;
  return Status();
}

Status CompressedWriter::write_chunk(PendingChunk& chunk) {
  if (!chunk.status.ok()) {
    file_.abandon();
    return chunk.status;
  }
  const TensorInfo& tensor = header_.tensors()[chunk.tensor];
  if (is_first_ && may_compress(tensor, chunk.tensor)) {
    // With its table: a scalar must not become larger.
    const size_t size = chunk.encoded.size() + kTableEntryBytes + kTrailerBytes;
    if (size + chunk.values.size() / kLeastGain < chunk.values.size()) {
      table_.emplace(tensor.dtype, tensor.bytes() / element_bytes(tensor.dtype),
                     chunk_values(row_of(tensor)));
    }
  }
  is_first_ = false;
  if (table_) {
    table_->add(chunk.encoded, chunk.value_crc);
    WINNOW_RETURN_IF_ERROR(file_.append(chunk.encoded));
  } else {
    WINNOW_RETURN_IF_ERROR(file_.append(chunk.values));
  }
  return chunk.is_last ? end_tensor(chunk.tensor) : Status();
}

Status CompressedWriter::end_tensor(size_t index) {
  const TensorInfo& tensor = header_.tensors()[index];
  if (table_) {
    WINNOW_RETURN_IF_ERROR(file_.append(table_->encode()));
  }
  const uint64_t end = file_.size() - kLengthBytes - room_;
  TensorInfo entry = table_ ? compressed_entry(tensor, end - tensor_begin_) : tensor;
  entry.begin = tensor_begin_;
  entry.end = end;
  entries_.push_back(std::move(entry));
  tensor_begin_ = end;
  table_.reset();
  is_first_ = true;
  return Status();
}

Status CompressedWriter::finish() {
  WINNOW_RETURN_IF_ERROR(flush());
  if (at_ == order_.size()) return Status();
  file_.abandon();
  return {ErrorCode::kInvalidArgument, "finished with bytes left to write"};
}

Status CompressedWriter::commit() {
  WINNOW_RETURN_IF_ERROR(finish());
  uint64_t end = 0;
  for (TensorInfo& entry : entries_) {
    if (entry.bytes() == 0) entry.begin = entry.end = end;
    end = entry.end;
  }
  std::string text = safetensors_header_text(entries_, metadata());
  assert(text.size() <= room_);  // header_room sees to it
  text.append(room_ - text.size(), ' ');
  std::array<std::byte, kLengthBytes> length;
  const uint64_t number = text.size();
  std::memcpy(length.data(), &number, sizeof(number));
  WINNOW_RETURN_IF_ERROR(file_.rewrite(0, length));
  WINNOW_RETURN_IF_ERROR(file_.rewrite(kLengthBytes, std::as_bytes(std::span(text))));
  return file_.commit();
}

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> create_compressed_writer(const WriterInputs& inputs,
                                                                   std::vector<bool> plain,
                                                                   ParallelFor& threads) {
  WINNOW_ASSIGN_OR_RETURN(SafetensorsHeader header,
                          SafetensorsHeader::parse(inputs.header_text, inputs.data_bytes));
  for (const TensorInfo& tensor : header.tensors()) {
    if (tensor.name != kHeaderName) continue;
    return Status(ErrorCode::kInvalidArgument,
                  concat(escape_path(inputs.path), ": a tensor is named '", kHeaderName,
                         "', as the header of a compressed file is"));
  }
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::byte> packed, pack_header(inputs.header_text));
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file,
                          AtomicFile::create(inputs.env, inputs.path, inputs.options));
  std::vector<ChunkEncoder> encoders;
  for (size_t i = 0; i < std::min(threads.concurrency(), kChunksAtOnce); ++i) {
    WINNOW_ASSIGN_OR_RETURN(ChunkEncoder encoder, ChunkEncoder::create());
    encoders.push_back(std::move(encoder));
  }
  auto writer = std::make_unique<CompressedWriter>(std::move(file), std::move(header),
                                                   std::move(plain), threads, std::move(encoders));
  WINNOW_RETURN_IF_ERROR(writer->begin(packed, inputs.data_bytes));
  return std::unique_ptr<CheckpointWriter>(std::move(writer));
}

}  // namespace winnow::checkpoint
