#include "winnow/checkpoint/checkpoint_reader.h"

#include "base/status_macros.h"
#include "checkpoint/archives/torch_reader.h"
#include "checkpoint/bitmask/bitmask_reader.h"
#include "checkpoint/files/compressed_reader.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/shards/shard_index.h"
#include "checkpoint/shards/sharded_reader.h"
#include "io/file/temp_name.h"

namespace winnow {
namespace {

using namespace checkpoint;

// A safetensors file as it is.
class PlainReader final : public CheckpointReader {
 public:
  explicit PlainReader(SafetensorsFile file) : file_(std::move(file)) {}

  std::span<const TensorInfo> tensors() const noexcept override { return header().tensors(); }
  const Metadata& metadata() const noexcept override { return header().metadata(); }
  std::string header_text(const Metadata& added) const override {
    return text_with_entries(header(), added);
  }
  uint64_t file_bytes() const noexcept override { return file_.identity().size; }
  uint64_t header_bytes() const noexcept override { return header().text().size(); }
  bool reads(const FileIdentity& file) const noexcept override {
    return file_.identity().same_file(file);
  }
  Status check_unchanged() const override { return file_.check_unchanged(); }
  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override {
    return file_.read(tensors()[tensor], offset, out);
  }

 private:
  const SafetensorsHeader& header() const noexcept { return file_.header(); }

  SafetensorsFile file_;
};

}  // namespace

uint64_t CheckpointReader::read_bytes(size_t) const noexcept { return kChunkBytes; }

Result<StoredTensor> CheckpointReader::stored(size_t tensor) const {
  return StoredTensor{.bytes = tensors()[tensor].bytes()};
}

uint64_t CheckpointReader::data_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : tensors()) bytes += tensor.bytes();
  return bytes;
}

Result<std::unique_ptr<CheckpointReader>> checkpoint::open_file(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(env, path));
  if (is_container(file.header().metadata())) return open_compressed(std::move(file), path);
  std::unique_ptr<CheckpointReader> reader = std::make_unique<PlainReader>(std::move(file));
  if (has_bitmask_weights(reader->tensors())) return open_bitmask(std::move(reader), path);
  return reader;
}

Result<std::unique_ptr<CheckpointReader>> open_checkpoint(Env& env, const std::string& path) {
  if (path.ends_with(kIndexSuffix)) {
    return open_index(env, io::directory_of(path), io::file_name_of(path));
  }
  Result<std::unique_ptr<CheckpointReader>> file = open_file(env, path);
  // What else it may be is asked only if it failed: most are safetensors files.
  if (file.ok()) return file;
  if (file.status().code() == ErrorCode::kUnsupportedFile) {
    WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
    return info.kind == FileKind::kDirectory ? open_folder(env, path) : std::move(file);
  }
  if (!file.status().code().is_of_format()) return file;
  WINNOW_ASSIGN_OR_RETURN(const bool is_torch, is_torch_archive(env, path));
  return is_torch ? open_torch(env, path) : std::move(file);
}

}  // namespace winnow
