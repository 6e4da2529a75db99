// Private: reads files of compressed-tensors' formats sparse-bitmask and sparse-24-bitmask
// (docs/formats.md) as the dense files that they stand for. They are not written.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "winnow/checkpoint/checkpoint_reader.h"

namespace winnow::checkpoint {

/// Whether a weight is stored in these formats: whether there are a P.compressed and a P.bitmask.
bool has_bitmask_weights(std::span<const TensorInfo> tensors);

/// `file`, which has such weights, with P.weight in the place of the parts of each: it stands where
/// P.compressed was, in a header whose order is that of the data. Other tensors and the metadata
/// are those of the file.
///
/// Reads the shapes of the weights, a few bytes each. Errors: kBitmaskParts, kBitmaskShape and
/// kBitmaskSize, those of SafetensorsHeader::parse for the header that results, and of reading.
Result<std::unique_ptr<CheckpointReader>> open_bitmask(std::unique_ptr<CheckpointReader> file,
                                                       const std::string& path);

}  // namespace winnow::checkpoint
