// How a tensor of any shape is seen as the matrix that block patterns are laid over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"

namespace winnow {

/// Rows and columns of a folded tensor.
struct MatrixShape {
  size_t rows = 0;
  size_t cols = 0;

  size_t numel() const noexcept { return rows * cols; }
  bool operator==(const MatrixShape&) const = default;
};

/// Folds a tensor's shape into a matrix: dimensions of size 1 are dropped; of what is left the last
/// is the columns and the others fold into rows. One dimension is one row, none is 1 x 1. The flat
/// row-major order of the elements does not change.
/// Errors: kShapeOverflow if the number of elements does not fit into 63 bits.
/// Differs from torch.ao: more than two dimensions (after dropping) are refused there.
Result<MatrixShape> fold_shape(std::span<const uint64_t> shape);

/// Read-only values of a matrix, [rows, cols], row-major, in the caller's memory, at any alignment.
/// Element (r, c) stands at data + (r * row_stride + c) * itemsize.
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;  ///< F32, F64, F16 or BF16
  MatrixShape shape;
  size_t row_stride = 0;  ///< in elements, at least shape.cols

  /// rows * cols.
  size_t numel() const noexcept { return shape.numel(); }
};

/// A view of contiguous values. Precondition: dtype is prunable.
MatrixView contiguous_view(const void* data, DType dtype, MatrixShape shape) noexcept;

/// Ok, or kInvalidArgument: "`what`: expected dtype F32, F64, F16 or BF16, found ...".
Status check_prunable(DType dtype, std::string_view what);

/// Ok, or kInvalidArgument unless a mask of `bytes` has one byte for each of `numel` values.
Status check_mask_size(size_t bytes, size_t numel);

}  // namespace winnow
