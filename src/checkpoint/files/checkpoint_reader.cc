#include "winnow/checkpoint/checkpoint_reader.h"

#include "base/status_macros.h"
#include "checkpoint/chunks.h"
#include "checkpoint/files/compressed_reader.h"
#include "checkpoint/files/container.h"

namespace winnow {
namespace {

using namespace checkpoint;

// A safetensors file as it is.
class PlainReader final : public CheckpointReader {
 public:
  explicit PlainReader(SafetensorsFile file) : file_(std::move(file)) {}

  const SafetensorsHeader& header() const noexcept override { return file_.header(); }
  const FileIdentity& identity() const noexcept override { return file_.identity(); }
  uint64_t file_bytes() const noexcept override { return file_.identity().size; }
  Status check_unchanged() const override { return file_.check_unchanged(); }
  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override {
    return file_.read(header().tensors()[tensor], offset, out);
  }

 private:
  SafetensorsFile file_;
};

}  // namespace

uint64_t CheckpointReader::read_bytes(size_t) const noexcept { return kChunkBytes; }

Result<StoredTensor> CheckpointReader::stored(size_t tensor) const {
  return StoredTensor{.bytes = header().tensors()[tensor].bytes()};
}

uint64_t CheckpointReader::data_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : header().tensors()) bytes += tensor.bytes();
  return bytes;
}

Result<std::unique_ptr<CheckpointReader>> open_checkpoint(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(env, path));
  if (is_container(file.header().metadata())) return open_compressed(std::move(file), path);
  return std::unique_ptr<CheckpointReader>(std::make_unique<PlainReader>(std::move(file)));
}

}  // namespace winnow
