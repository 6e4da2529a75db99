// Private: what a torch archive becomes: one again, or a safetensors file.
#pragma once

#include <memory>

#include "checkpoint/files/checkpoint_writer.h"

namespace winnow::checkpoint {

/// Whether the output is a torch archive: the input is one, and the output is not called
/// *.safetensors.
bool stays_torch_archive(const OutputJob& job) noexcept;

/// kInvalidArgument for what cannot be: compressed tensors in a torch archive; a safetensors file
/// of what is no tensor, or of views that it cannot tell; a torch archive of a safetensors file.
Status check_torch_output(const OutputJob& job);

/// A copy of the input in which the values of tensors are those that are appended, and the
/// checksums of their records follow; every other byte is the input's. Values of fixed tensors are
/// the input's whatever is appended. Memory: 1 MiB, and for a tensor that is not contiguous the
/// tensor and the part of the storage that it lies in. Precondition: stays_torch_archive(job).
/// Errors: those of TorchArchiveCopy.
Result<std::unique_ptr<CheckpointWriter>> create_torch_writer(const OutputJob& job);

}  // namespace winnow::checkpoint
