// Private: elements of strided tensors, and the entries of sparse ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "winnow/base/status.h"
#include "winnow/io/torch_value.h"

namespace winnow::io {

/// Whether the tensor is all of its storage, in order.
bool is_whole_storage(const TorchTensor& tensor, const TorchStorage& storage);

/// Copies the elements, row-major, from the payload of the tensor's storage. `out` has room for
/// exactly those; the tensor was checked.
void gather(const TorchTensor& tensor, std::span<const std::byte> payload,
            std::span<std::byte> out);

/// kSparseIndex, kSparseDuplicate, kSparseOrder. `indices` is [sparse dimensions, nnz], row-major.
Status check_indices(const TorchSparseTensor& tensor, std::span<const int64_t> indices);

}  // namespace winnow::io
