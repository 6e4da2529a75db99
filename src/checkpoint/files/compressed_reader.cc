#include "checkpoint/files/compressed_reader.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/sparse/chunk_codec.h"

namespace winnow::checkpoint {
namespace {

Status container_fault(std::string message) {
  return Status(SparseError::kSparseContainer, std::move(message));
}

// A decoder and the bytes that it decodes from, lent to one read at a time.
struct Worker {
  explicit Worker(ChunkDecoder chunk_decoder) : decoder(std::move(chunk_decoder)) {}

  ChunkDecoder decoder;
  std::vector<std::byte> stored;
  // The chunk that was decoded last for a read of a part of it.
  size_t tensor = SIZE_MAX;
  size_t chunk = 0;
  std::vector<std::byte> values;
};

class CompressedReader final : public CheckpointReader {
 public:
  CompressedReader(SafetensorsFile file, std::string path, SafetensorsHeader header)
      : file_(std::move(file)), path_(std::move(path)), header_(std::move(header)) {}

  // Finds the stored tensor of each tensor, and the tables of chunks.
  Status match();

  std::span<const TensorInfo> tensors() const noexcept override { return header_.tensors(); }
  const Metadata& metadata() const noexcept override { return header_.metadata(); }
  std::string header_text(const Metadata& added) const override {
    return text_with_entries(header_, added);
  }
  uint64_t file_bytes() const noexcept override { return file_.identity().size; }
  uint64_t header_bytes() const noexcept override { return header_.text().size(); }
  bool reads(const FileIdentity& file) const noexcept override {
    return file_.identity().same_file(file);
  }
  bool is_compressed() const noexcept override { return true; }
  bool is_container() const noexcept override { return true; }
  Status check_unchanged() const override { return file_.check_unchanged(); }

  uint64_t read_bytes(size_t tensor) const noexcept override {
    const auto& table = tables_[tensor];
    return table ? table->bytes_per_chunk() : kChunkBytes;
  }
  Result<StoredTensor> stored(size_t tensor) const override;
  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override;

 private:
  const TensorInfo& tensor_at(size_t tensor) const noexcept { return header_.tensors()[tensor]; }
  const TensorInfo& entry_of(size_t tensor) const noexcept {
    return file_.header().tensors()[entries_[tensor]];
  }
  Status match_one(size_t tensor, size_t entry);
  Result<std::optional<ChunkTable>> read_table(const TensorInfo& tensor, const TensorInfo& entry);
  Status read_chunk(Worker& worker, size_t tensor, size_t chunk, std::span<std::byte> out) const;
  Status read_part(Worker& worker, size_t tensor, uint64_t offset, std::span<std::byte> out) const;
  Result<std::unique_ptr<Worker>> take_worker(size_t tensor, size_t chunk) const;
  void give_back(std::unique_ptr<Worker> worker) const;

  SafetensorsFile file_;
  std::string path_;
  SafetensorsHeader header_;
  std::vector<size_t> entries_;                    // by tensor: its entry in the file
  std::vector<std::optional<ChunkTable>> tables_;  // by tensor; none: stored as it is
  mutable std::mutex mutex_;                       // of the idle workers
  mutable std::vector<std::unique_ptr<Worker>> idle_;
};

Status CompressedReader::match() {
  const std::span<const TensorInfo> tensors = header_.tensors();
  const std::span<const TensorInfo> entries = file_.header().tensors();
  if (entries.size() != tensors.size() + 1) {
    return container_fault(
        concat("expected ", tensors.size(), " tensors and a header, found ", entries.size()));
  }
  const std::vector<size_t> order = data_order(tensors), stored = data_order(entries);
  entries_.resize(tensors.size());
  tables_.resize(tensors.size());
  for (size_t i = 0; i < order.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(match_one(order[i], stored[i + 1]));  // the header is first
  }
  return Status();
}

Status CompressedReader::match_one(size_t tensor, size_t entry) {
  const TensorInfo& want = header_.tensors()[tensor];
  const TensorInfo& have = file_.header().tensors()[entry];
  if (want.name != have.name) {
    return container_fault(concat("expected the tensor '", escape_name(want.name), "', found '",
                                  escape_name(have.name), "'"));
  }
  entries_[tensor] = entry;
  if (want.dtype == have.dtype && want.shape == have.shape) return Status();
  const TensorInfo compressed = compressed_entry(want, have.bytes());
  if (have.dtype != compressed.dtype || have.shape != compressed.shape) {
    return container_fault(concat(tensor_label(want), ": expected it as it was or as ",
                                  list_text(compressed.shape), " of U8, found ",
                                  list_text(have.shape), " of ", dtype_name(have.dtype)));
  }
  WINNOW_ASSIGN_OR_RETURN(tables_[tensor], read_table(want, have));
  return Status();
}

Result<std::optional<ChunkTable>> CompressedReader::read_table(const TensorInfo& tensor,
                                                               const TensorInfo& entry) {
  const uint64_t values = tensor.bytes() / element_bytes(tensor.dtype);
  const auto read_end = [&](uint64_t bytes) -> Result<std::vector<std::byte>> {
    std::vector<std::byte> end(bytes);
    WINNOW_RETURN_IF_ERROR(file_.read(entry, entry.bytes() - bytes, end));
    return end;
  };
  WINNOW_ASSIGN_OR_RETURN(const auto trailer,
                          read_end(std::min<uint64_t>(kTrailerBytes, entry.bytes())));
  const Result<uint64_t> end_bytes =
      ChunkTable::end_bytes(trailer, entry.bytes(), tensor.dtype, values);
  if (!end_bytes.ok()) return end_bytes.status().with_context(tensor_label(tensor));
  WINNOW_ASSIGN_OR_RETURN(const auto end, read_end(*end_bytes));
  Result<ChunkTable> table = ChunkTable::decode(end, entry.bytes(), tensor.dtype, values);
  if (!table.ok()) return table.status().with_context(tensor_label(tensor));
  return std::optional(std::move(*table));
}

Result<StoredTensor> CompressedReader::stored(size_t tensor) const {
  StoredTensor result{.bytes = entry_of(tensor).bytes()};
  const auto& table = tables_[tensor];
  if (!table) return result;
  std::byte kinds[kFrontBytes]{};
  if (!table->chunks().empty() && table->chunks()[0].bytes >= sizeof(kinds)) {
    WINNOW_RETURN_IF_ERROR(file_.read(entry_of(tensor), 0, kinds));
  }
  result.encoding = encoding_text(kinds);
  return result;
}

Status CompressedReader::read(size_t tensor, uint64_t offset, std::span<std::byte> out) const {
  const auto& table = tables_[tensor];
  if (!table) return file_.read(entry_of(tensor), offset, out);
  WINNOW_RETURN_IF_ERROR(check_range(path_, tensor_at(tensor), offset, out.size()));
  const uint64_t step = table->bytes_per_chunk();
  while (!out.empty()) {
    const size_t chunk = offset / step;
    const uint64_t begin = chunk * step, end = std::min(begin + step, tensor_at(tensor).bytes());
    const auto part = out.first(std::min<uint64_t>(out.size(), end - offset));
    WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, take_worker(tensor, chunk));
    const Status status = part.size() == end - begin ? read_chunk(*worker, tensor, chunk, part)
                                                     : read_part(*worker, tensor, offset, part);
    give_back(std::move(worker));
    WINNOW_RETURN_IF_ERROR(status);
    offset += part.size();
    out = out.subspan(part.size());
  }
  return Status();
}

Status CompressedReader::read_chunk(Worker& worker, size_t tensor, size_t chunk,
                                    std::span<std::byte> out) const {
  const ChunkEntry& entry = tables_[tensor]->chunks()[chunk];
  worker.stored.resize(entry.bytes);
  WINNOW_RETURN_IF_ERROR(file_.read(entry_of(tensor), entry.offset, worker.stored));
  const Status status = worker.decoder.decode((worker.stored), entry, tensor_at(tensor).dtype, out);
  if (status.ok()) return status;
  return in_file(path_,
                 status.with_context(concat(tensor_label(tensor_at(tensor)), ", chunk ", chunk)));
}

// Decodes the whole chunk aside and copies a part: readers of small pieces come back for the next.
Status CompressedReader::read_part(Worker& worker, size_t tensor, uint64_t offset,
                                   std::span<std::byte> out) const {
  const uint64_t step = tables_[tensor]->bytes_per_chunk();
  const size_t chunk = offset / step;
  const uint64_t begin = chunk * step;
  if (worker.tensor != tensor || worker.chunk != chunk) {
    worker.tensor = SIZE_MAX;
    worker.values.resize(std::min(step, tensor_at(tensor).bytes() - begin));
    WINNOW_RETURN_IF_ERROR(read_chunk(worker, tensor, chunk, worker.values));
    worker.tensor = tensor;
    worker.chunk = chunk;
  }
  std::copy_n(worker.values.begin() + static_cast<ptrdiff_t>(offset - begin), out.size(),
              out.begin());
  return Status();
}

// A worker that has the chunk already, if there is one.
Result<std::unique_ptr<Worker>> CompressedReader::take_worker(size_t tensor, size_t chunk) const {
  const std::scoped_lock lock(mutex_);
  if (idle_.empty()) {
    WINNOW_ASSIGN_OR_RETURN(ChunkDecoder decoder, ChunkDecoder::create());
    return std::make_unique<Worker>(std::move(decoder));
  }
  const auto has_chunk = [&](const auto& worker) {
    return worker->tensor == tensor && worker->chunk == chunk;
  };
  const auto found = std::find_if(idle_.begin(), idle_.end(), has_chunk);
  std::swap(found == idle_.end() ? idle_.back() : *found, idle_.back());
  std::unique_ptr<Worker> worker = std::move(idle_.back());
  idle_.pop_back();
  return worker;
}

void CompressedReader::give_back(std::unique_ptr<Worker> worker) const {
  const std::scoped_lock lock(mutex_);
  idle_.push_back(std::move(worker));
}

std::string_view value_of(const Metadata& metadata, std::string_view key) {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [&](const auto& entry) { return entry.first == key; });
  return found == metadata.end() ? std::string_view() : std::string_view(found->second);
}

Result<SafetensorsHeader> read_header(const SafetensorsFile& file) {
  const std::span<const TensorInfo> entries = file.header().tensors();
  const auto found = std::find_if(entries.begin(), entries.end(), [](const TensorInfo& entry) {
    return entry.name == kHeaderName;
  });
  if (found == entries.end() || found->begin != 0 || found->dtype != DType::kU8 ||
      found->shape.size() != 1) {
    return container_fault(concat("expected '", kHeaderName, "' as the first tensor"));
  }
  std::vector<std::byte> packed(found->bytes());
  WINNOW_RETURN_IF_ERROR(file.read(*found, 0, packed));
  WINNOW_ASSIGN_OR_RETURN(std::string text, unpack_header(packed));
  const std::string_view digits = value_of(file.header().metadata(), kBytesKey);
  uint64_t bytes = 0;
  const std::errc error = std::from_chars(digits.data(), digits.data() + digits.size(), bytes).ec;
  const uint64_t header_bytes = sizeof(uint64_t) + text.size();
  if (error != std::errc() || std::to_string(bytes) != digits || bytes < header_bytes) {
    return container_fault(
        concat(kBytesKey, ": expected the size of a file, found '", escape_name(digits), "'"));
  }
  return SafetensorsHeader::parse(std::move(text), bytes - header_bytes);
}

Status check_version(const Metadata& metadata) {
  const std::string_view version = value_of(metadata, kCompressedKey);
  if (version == kCompressedVersion) return Status();
  return {SparseError::kSparseVersion, concat(kCompressedKey, ": expected '", kCompressedVersion,
                                              "', found '", escape_name(version), "'")};
}

}  // namespace

Result<std::unique_ptr<CheckpointReader>> open_compressed(SafetensorsFile file,
                                                          const std::string& path) {
  WINNOW_RETURN_IF_ERROR(in_file(path, check_version(file.header().metadata())));
  Result<SafetensorsHeader> header = read_header(file);
  if (!header.ok()) return in_file(path, header.status());
  auto reader =
      std::make_unique<CompressedReader>(std::move(file), path, std::move(header).value());
  WINNOW_RETURN_IF_ERROR(in_file(path, reader->match()));
  return std::unique_ptr<CheckpointReader>(std::move(reader));
}

}  // namespace winnow::checkpoint
