// Private: which tensors a torch archive has, if each value is to belong to one of them.
//
// In an archive, tensors are views of storages, and views may share values. Here
//   - equal views are one tensor and its aliases;
//   - views inside one that fills its place without gaps are aliases of a part of that one;
//   - views that have no value in common are tensors of their own;
//   - what is left overlaps, or repeats its values: it is shown, and fixed (FixedReason).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/archives/torch_paths.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/torch_archive.h"

namespace winnow::checkpoint {

struct TorchLayout {
  /// In the order of the tree. Their offsets are those of the values one after the other, in the
  /// order of the records in the file, and in that of the storage.
  std::vector<TensorInfo> tensors;
  std::vector<TorchTensor> views;                 ///< where the values of each are
  std::vector<std::optional<FixedReason>> fixed;  ///< of each
  Metadata aliases;                               ///< {alias: tensor}
  std::optional<std::string> part;                ///< an alias of a part or of other strides
  std::vector<OpaqueValue> opaque;
  uint64_t plain_values = 0;
};

/// Views that repeat or share values are tensors as long as they have no more than 64 MiB and the
/// file's size in all; the others are opaque. Errors: those of list_paths.
Result<TorchLayout> lay_out(const TorchArchive& archive);

/// The bytes of the storage from the first value to behind the last: [begin, end); empty for a
/// tensor without values.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};
ByteRange range_of(const TorchTensor& view) noexcept;

}  // namespace winnow::checkpoint
