// Private: the arithmetic that every tensor of a torch archive has to fulfil.
#pragma once

#include <span>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/torch_value.h"

namespace winnow::io {

/// kTensorRank, kTensorShape, kTensorStride, kTensorBounds, kStorageDtype; kInvalidArgument if
/// `storages` has no such storage.
Status check_tensor(const TorchTensor& tensor, std::span<const TorchStorage> storages);

/// The same for indices and values, and kSparseShape.
Status check_sparse(const TorchSparseTensor& tensor, std::span<const TorchStorage> storages);

/// kStorageDtype if torch has no such storage, kTensorShape if its bytes exceed 63 bits.
Status check_storage(const TorchStorage& storage);

/// For messages: "[2, 3]".
std::string shown_shape(std::span<const uint64_t> shape);

}  // namespace winnow::io
