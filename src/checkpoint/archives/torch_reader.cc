#include "checkpoint/archives/torch_reader.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "io/file/file_kind.h"
#include "winnow/base/concat.h"
#include "winnow/io/input_file.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow::checkpoint {

TorchReader::TorchReader(TorchArchive archive, TorchLayout layout)
    : archive_(std::move(archive)),
      layout_(std::move(layout)),
      is_checked_(archive_.storages().size()) {}

std::string TorchReader::header_text(const Metadata& added) const {
  return safetensors_header_text(layout_.tensors, with_entries(layout_.aliases, added));
}

Status TorchReader::read(size_t tensor, uint64_t offset, std::span<std::byte> out) const {
  const TensorInfo& info = layout_.tensors[tensor];
  if (offset > info.bytes() || out.size() > info.bytes() - offset) {
    return {ErrorCode::kInvalidArgument, concat(tensor_label(info), ": ", out.size(), " bytes at ",
                                                offset, " of ", info.bytes(), " asked for")};
  }
  if (out.empty()) return {};
  const TorchTensor& view = layout_.views[tensor];
  if (view.is_contiguous()) {
    WINNOW_RETURN_IF_ERROR(check_storage(view.storage));
    return archive_.read_range(view.storage, range_of(view).begin + offset, out);
  }
  WINNOW_ASSIGN_OR_RETURN(const Bytes bytes, gathered(tensor));
  std::memcpy(out.data(), bytes->data() + offset, out.size());
  return {};
}

// The first that needs a storage verifies it, and the others wait: nobody sees what is damaged.
Status TorchReader::check_storage(size_t storage) const {
  const std::scoped_lock lock(check_lock_);
  if (is_checked_[storage]) return {};
  WINNOW_RETURN_IF_ERROR(archive_.check_storage(storage));
  is_checked_[storage] = true;
  return {};
}

Result<TorchReader::Bytes> TorchReader::gathered(size_t tensor) const try {
  const std::scoped_lock lock(gather_lock_);
  if (gathered_ != nullptr && gathered_tensor_ == tensor) return gathered_;
  gathered_.reset();
  const auto bytes = std::make_shared<std::vector<std::byte>>(layout_.tensors[tensor].bytes());
  WINNOW_RETURN_IF_ERROR(archive_.read_tensor(layout_.views[tensor], *bytes));
  gathered_tensor_ = tensor;
  gathered_ = bytes;
  return gathered_;
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory,
                concat(tensor_label(layout_.tensors[tensor]),
                       ": not enough memory for a tensor that is not contiguous"));
}

Result<bool> is_torch_archive(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const InputFile file, InputFile::open(env, path));
  WINNOW_ASSIGN_OR_RETURN(const std::string front, file.read_front(io::kFrontBytes));
  // The length of a safetensors header may begin with a pickle's first bytes.
  return io::is_zip(front) || (front.starts_with("\x80\2") && !io::is_safetensors(front));
}

Result<std::unique_ptr<CheckpointReader>> open_torch(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(TorchArchive archive,
                          TorchArchive::open(env, path, {.keep_unknown = true}));
  Result<TorchLayout> layout = lay_out(archive);
  if (!layout.ok()) return in_file(path, layout.status());
  return std::unique_ptr<CheckpointReader>(
      std::make_unique<TorchReader>(std::move(archive), std::move(*layout)));
}

const TorchReader* as_torch_reader(const CheckpointReader& reader) noexcept {
  return dynamic_cast<const TorchReader*>(&reader);
}

}  // namespace winnow::checkpoint
