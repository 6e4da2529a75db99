#include "winnow/torch/torch_file.h"

#include <ATen/core/Tensor.h>

#include "torch/files/value_tree.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"
#include "winnow/io/torch_archive_writer.h"

namespace winnow {
using namespace internal;

void save_torch_file(const std::string& path, const c10::IValue& value,
                     const SaveTorchFileOptions& options) {
  const ValueTree made = tree_of(value);
  TorchArchiveWriter writer = value_of(TorchArchiveWriter::create(
      Env::posix(), path, made.tree, made.storages,
      {.overwrite = options.overwrite, .overwrite_blob = options.overwrite_blob}));
  // In the order of the storages, which the tree numbers.
  for (const at::Tensor& payload : made.payloads) {
    check_ok(writer.append_storage(tensor_bytes(payload)));
  }
  check_ok(writer.commit());
}

c10::IValue load_torch_file(const std::string& path, const LoadTorchFileOptions& options) {
  const TorchArchive archive = value_of(TorchArchive::open(
      Env::posix(), path, {.allow_missing_checksums = options.allow_missing_checksums}));
  c10::IValue value = value_of_tree(archive, path);
  // A file that is written at the same time could give old and new values.
  check_ok(archive.check_unchanged());
  return value;
}

}  // namespace winnow
