// PRIVATE. Tensors in memory of torch or NumPy: any number of dimensions, any strides. Both
// bindings see their tensors this way, so that a mask is the same whichever module asks for it.
#pragma once

#include <cstdint>
#include <span>

#include "winnow/base/dtype.h"
#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"

namespace winnow::python {

/// A view of values that the caller keeps: element (i, j, ...) stands at
/// data + (i * strides[0] + j * strides[1] + ...) * itemsize. Strides may be 0 or negative.
struct StridedTensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::span<const int64_t> sizes;    ///< none negative
  std::span<const int64_t> strides;  ///< in elements, one for each size
};

/// Whether the values follow each other in row-major order without gaps.
bool is_contiguous(const StridedTensor& tensor) noexcept;

/// Whether a dimension repeats its values (a stride of 0), so that writes would meet.
bool is_expanded(const StridedTensor& tensor) noexcept;

/// Writes the mask of the tensor, folded into a matrix (core/matrix_view.h), by the rule of
/// `config`.
///
/// Values whose rows have one stride are read in place. Others are copied together in pieces of
/// about 4 MiB (of one row of blocks, where that is more), once for each pass of the selection; the
/// tensor is never copied whole unless it is smaller than that.
///
/// @param mask  one byte a value, contiguous, in the order of the values; shares no memory with
/// them Errors: as winnow::compute_mask.
Status write_mask(const StridedTensor& tensor, const DataNormConfig& config,
                  std::span<uint8_t> mask, ParallelFor& threads);

/// Sets values to +0.0 wherever the mask is 0; all other values keep their bits.
/// Preconditions: one byte of mask for each value, and the tensor is not expanded.
void drop_values(const StridedTensor& tensor, std::span<const uint8_t> mask);

}  // namespace winnow::python
