// Tensors of any rank and strides in the caller's memory. Both doors of the library, LibTorch and
// Python, translate their tensors into these views; what happens to them then is written once.
//
// Thread-safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// Where the elements of a tensor stand: element (i, j, ...) is i * strides[0] + j * strides[1] +
/// ... elements behind the first one.
struct StridedLayout {
  std::span<const int64_t> sizes;    ///< none negative; their product fits into 63 bits
  std::span<const int64_t> strides;  ///< in elements, one for each size; may be 0 or negative

  /// The number of elements, 1 for rank 0.
  int64_t numel() const noexcept;

  /// Whether the elements follow each other in row-major order without gaps.
  bool is_contiguous() const noexcept;

  /// Whether no two elements stand in one place. May say no of strides that interleave without
  /// meeting, which neither views nor slices of a tensor have.
  bool has_distinct_places() const noexcept;
};

/// Read-only values of a tensor, at any alignment.
struct StridedView {
  const void* data = nullptr;  ///< element (0, 0, ...); not read if there are no elements
  DType dtype = DType::kF32;   ///< F32, F64, F16 or BF16
  StridedLayout layout;
};

/// The place of a tensor's mask, one byte a value.
struct StridedMask {
  uint8_t* data = nullptr;
  StridedLayout layout;
};

/// A tensor and the place of its mask.
struct StridedTarget {
  StridedView values;
  StridedMask mask;
  int device = 0;  ///< memory of different devices never overlaps; 0 is the CPU
};

/// What messages call tensor `index` of `count`: "data" or "mask", of several "data[3]",
/// "masks[3]".
std::string target_name(bool is_mask, size_t index, size_t count);

/// Ok if layout.has_distinct_places(), so that values can be changed one by one. Error:
/// kInvalidArgument with the strides and sizes.
Status check_distinct_places(const StridedLayout& layout);

/// Folds a layout into a matrix, as fold_shape does.
MatrixShape matrix_shape(const StridedLayout& layout) noexcept;

/// The values as a matrix where they stand, or nothing if they are not rows with one stride.
std::optional<MatrixView> view_in_place(const StridedView& tensor) noexcept;

/// Ok if all values have a prunable dtype, and each mask is contiguous, has the shape of its values
/// and shares no memory with another mask nor with any values. Only addresses are compared: the
/// memory may be unreadable, and a null pointer stands for memory that nobody knows. Allocates a
/// few words for each target if there are several. Error: kInvalidArgument naming the tensor
/// ("mask", "data"; of several "masks[3]", "data[3]"), what was expected and what was found.
Status check_targets(std::span<const StridedTarget> targets);

}  // namespace winnow
