// A checkpoint as tensors with names, whatever holds it: what prune_file, verify_file, inspect_file
// and their kin read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/env.h"
#include "winnow/io/safetensors.h"

namespace winnow {

namespace checkpoint {
struct ShardSet;
}

/// How a tensor is stored.
struct StoredTensor {
  uint64_t bytes = 0;         ///< in the file
  std::string encoding = {};  ///< of its first chunk, such as "gaps, window"; empty: as it is
};

/// Why a tensor of a torch archive is not pruned, besides what its name and type say.
enum class FixedReason : uint8_t {
  kOverlapping,  ///< shares some of its values with other tensors
  kExpanded,     ///< has some of its values more than once
  kOpaqueUse,    ///< a value of a class that is not known uses its storage
  kOptimizer,    ///< state of an optimizer; the only reason that can be forced
};

/// A value of a torch archive that is carried and not looked into.
struct OpaqueValue {
  std::string path;        ///< as the names of tensors: keys and numbers, joined by dots
  std::string class_name;  ///< "argparse.Namespace", "torch.Tensor (sparse_coo)"
  bool has_tensors = false;
};

/// An open checkpoint. Const members may be called from several threads at once.
class CheckpointReader {
 public:
  virtual ~CheckpointReader() = default;

  /// The tensors, in the order of the header. Their offsets give the order of their data, one
  /// tensor after the other; of a compressed file they are those in the decompressed one.
  virtual std::span<const TensorInfo> tensors() const noexcept = 0;

  /// What the checkpoint says besides its tensors; see SafetensorsHeader::metadata. Of several
  /// shards: the entries of all, but for keys for which they have different values.
  virtual const Metadata& metadata() const noexcept = 0;

  /// The text of the header of a safetensors file of these tensors, with the entries of `added` set
  /// in the metadata: in the place of older ones, or at the end. All else of the text is as the
  /// file has it; without `added`, it is the same byte for byte. Of several shards: that of one
  /// file which holds them all.
  virtual std::string header_text(const Metadata& added = {}) const = 0;

  /// The size of the file, and of the text of its header; of several shards the sums.
  virtual uint64_t file_bytes() const noexcept = 0;
  virtual uint64_t header_bytes() const noexcept = 0;

  /// Whether this file is read: a shard, the index or the folder too.
  virtual bool reads(const FileIdentity& file) const noexcept = 0;

  /// By tensor, why it must not be pruned; empty if nothing of the file says so.
  virtual std::span<const std::optional<FixedReason>> fixed() const noexcept { return {}; }

  /// What the checkpoint has besides tensors and metadata: opaque values, and the number of plain
  /// ones (numbers, strings, None).
  virtual std::span<const OpaqueValue> opaque_values() const noexcept { return {}; }
  virtual uint64_t plain_values() const noexcept { return 0; }

  /// Whether values are decoded when they are read.
  virtual bool is_compressed() const noexcept { return false; }

  /// Whether this is what compress_file writes.
  virtual bool is_container() const noexcept { return false; }

  /// For winnow itself: the names of the tensors of the file that `tensor` (an index into
  /// tensors()) is made of; empty: it is stored under its own name. Only weights in
  /// compressed-tensors' formats are made of others.
  virtual std::vector<std::string> part_names(size_t /*tensor*/) const { return {}; }

  /// For winnow itself: the files of a checkpoint that is a folder. Null: it is one file.
  virtual const checkpoint::ShardSet* shard_set() const noexcept { return nullptr; }

  // `tensor` is an index into tensors().

  /// The bytes that are best read together, from a multiple of them on: the size of a chunk that is
  /// decoded as a whole, or 1 MiB.
  virtual uint64_t read_bytes(size_t tensor) const noexcept;

  /// How a tensor is stored.
  virtual Result<StoredTensor> stored(size_t tensor) const;

  /// Fills `out` with the tensor's bytes from `offset_in_tensor` on.
  ///
  /// kInvalidArgument: the range leaves the tensor; nothing is read. kInputChanged: the file got
  /// shorter. kIoError: the read failed. A compressed tensor also gives the codes of SparseError
  /// or BitmaskError.
  /// After an error the content of `out` is unspecified.
  virtual Status read(size_t tensor, uint64_t offset_in_tensor, std::span<std::byte> out) const = 0;

  /// kInputChanged if the file is not what it was at `open`. What was read is to be trusted only if
  /// this holds after the last read.
  virtual Status check_unchanged() const = 0;

  /// The size of all tensors' values.
  uint64_t data_bytes() const noexcept;
};

/// Opens the checkpoint at `path`:
///
/// - a safetensors file, as it is, compressed by winnow, or in compressed-tensors' formats
///   sparse-bitmask and sparse-24-bitmask (docs/formats.md);
/// - the index of one in shards, named NAME.safetensors.index.json, or a folder with an index or a
///   safetensors file. The tensors of shards are shown in the order of the shards' names, as if
///   they were in one file;
/// - a torch archive (torch_archive.h), whose tensors are named by their paths in it:
///   "optimizer.state.0.exp_avg".
///
/// Reads headers and the shapes of bitmask weights only, and keeps a file open for each shard.
/// Errors: those of SafetensorsFile::open; of a compressed file also SparseError::kSparseContainer,
/// kSparseStream and kSparseVersion; of bitmask weights BitmaskError; of an index or a folder
/// ShardError; of an archive those of TorchArchive::open with keep_unknown, and
/// TorchArchiveError::kTensorName. `env` outlives the reader.
Result<std::unique_ptr<CheckpointReader>> open_checkpoint(Env& env, const std::string& path);

}  // namespace winnow
