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

}  // namespace winnow
