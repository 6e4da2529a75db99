// Private: reads a torch archive as a checkpoint.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/archives/torch_layout.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/io/torch_archive.h"

namespace winnow::checkpoint {

/// The tensors of an archive (torch_layout.h). Each storage's CRC is verified before anything of it
/// is shown. A tensor that is not contiguous is held in memory, one at a time, as long as it is
/// read, and its storage while it is gathered.
class TorchReader final : public CheckpointReader {
 public:
  TorchReader(TorchArchive archive, TorchLayout layout);

  const TorchArchive& archive() const noexcept { return archive_; }

  /// By tensor: where its values are.
  const TorchTensor& view(size_t tensor) const noexcept { return layout_.views[tensor]; }

  /// An alias that a safetensors file cannot tell, because it has another shape than its tensor.
  const std::optional<std::string>& part() const noexcept { return layout_.part; }

  std::span<const TensorInfo> tensors() const noexcept override { return layout_.tensors; }
  const Metadata& metadata() const noexcept override { return layout_.aliases; }
  std::string header_text(const Metadata& added) const override;
  uint64_t file_bytes() const noexcept override { return archive_.identity().size; }
  uint64_t header_bytes() const noexcept override { return archive_.pickle_bytes(); }
  bool reads(const FileIdentity& file) const noexcept override {
    return archive_.identity().same_file(file);
  }
  std::span<const std::optional<FixedReason>> fixed() const noexcept override {
    return layout_.fixed;
  }
  std::span<const OpaqueValue> opaque_values() const noexcept override { return layout_.opaque; }
  uint64_t plain_values() const noexcept override { return layout_.plain_values; }
  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override;
  Status check_unchanged() const override { return archive_.check_unchanged(); }

 private:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  Status check_storage(size_t storage) const;
  Result<Bytes> gathered(size_t tensor) const;

  TorchArchive archive_;
  TorchLayout layout_;
  // What follows serves many threads; each lock also makes the others wait for what one does.
  mutable std::mutex check_lock_;
  mutable std::vector<bool> is_checked_;  // by storage
  mutable std::mutex gather_lock_;
  mutable size_t gathered_tensor_ = 0;
  mutable Bytes gathered_;
};

/// Whether the file at `path` begins as a torch archive does, or as the older files of torch.save,
/// of which TorchArchive says best what to do. Errors: those of InputFile.
Result<bool> is_torch_archive(Env& env, const std::string& path);

/// Errors: see open_checkpoint.
Result<std::unique_ptr<CheckpointReader>> open_torch(Env& env, const std::string& path);

/// The reader, if that is its kind; else null.
const TorchReader* as_torch_reader(const CheckpointReader& reader) noexcept;

}  // namespace winnow::checkpoint
