#include "winnow/core/matrix_view.h"

#include <string>

#include "winnow/base/checked.h"

namespace winnow {

Result<MatrixShape> fold_shape(std::span<const uint64_t> shape) {
  uint64_t numel = 1;
  bool empty = false;
  for (uint64_t size : shape) empty = empty || size == 0;
  uint64_t last = 1;
  for (uint64_t size : shape) {
    if (size != 1) last = size;
    const auto product = empty ? 0 : checked_mul(numel, size);
    if (!product || *product > uint64_t{INT64_MAX}) {
      return Status(ErrorCode::kShapeOverflow, "expected a shape of fewer than 2^63 elements");
    }
    numel = *product;
  }
  if (empty) return MatrixShape{0, 0};
  return MatrixShape{numel / last, last};
}

MatrixView contiguous_view(const void* data, DType dtype, MatrixShape shape) noexcept {
  return {data, dtype, shape, shape.cols};
}

Status check_prunable(DType dtype, std::string_view what) {
  if (is_prunable(dtype)) return {};
  return {ErrorCode::kInvalidArgument, std::string(what) +
                                           ": expected dtype F32, F64, F16 or BF16, found " +
                                           std::string(dtype_name(dtype))};
}

Status check_mask_size(size_t bytes, size_t numel) {
  if (bytes == numel) return {};
  return {ErrorCode::kInvalidArgument,
          "mask: expected " + std::to_string(numel) + " bytes, found " + std::to_string(bytes)};
}

}  // namespace winnow
