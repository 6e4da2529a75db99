// Private: a walk through the values of a strided tensor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "winnow/io/torch_value.h"

namespace winnow::io {

/// The values of a row, which is the last dimension; 1 for a scalar. They are row_stride apart, in
/// elements.
inline uint64_t row_elements(const TorchTensor& tensor) noexcept {
  return tensor.shape.empty() ? 1 : tensor.shape.back();
}
inline uint64_t row_stride(const TorchTensor& tensor) noexcept {
  return tensor.strides.empty() ? 1 : tensor.strides.back();
}

/// Calls visit(place) for each row of a checked tensor, in row-major order: the place of its first
/// value in the storage, in elements.
template <typename Visit>
void for_each_row(const TorchTensor& tensor, const Visit& visit) {
  if (tensor.numel() == 0) return;
  // On the stack: checked tensors have no more dimensions.
  std::array<uint64_t, kMaxTorchRank> index = {};
  uint64_t at = tensor.offset;
  for (uint64_t rows = tensor.numel() / row_elements(tensor); rows > 0; --rows) {
    visit(at);
    // Counts like an odometer. The last dimension is the row itself.
    for (size_t d = tensor.shape.empty() ? 0 : tensor.shape.size() - 1; d-- > 0;) {
      at += tensor.strides[d];
      if (++index[d] < tensor.shape[d]) break;
      at -= tensor.strides[d] * tensor.shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace winnow::io
