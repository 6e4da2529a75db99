#include "strided_tensor.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/mask.h"
#include "winnow/core/values.h"

namespace winnow::python {
namespace {

// Large enough that threads share a piece, small enough that it stays in the caches.
constexpr size_t kPieceBytes = size_t{4} << 20;

/// Columns that are copied together where neighbours in a column stand closer than those in a row:
/// their cache lines then last until the next row.
constexpr size_t kTileCols = 64;

Result<MatrixShape> matrix_shape(const StridedTensor& tensor) {
  // Sizes are not negative, and both types may look at the same memory.
  return fold_shape({reinterpret_cast<const uint64_t*>(tensor.sizes.data()), tensor.sizes.size()});
}

/// One dimension of the tensor that has more than one index.
struct Dimension {
  int64_t size, stride;
};

std::vector<Dimension> long_dimensions(const StridedTensor& tensor) {
  std::vector<Dimension> dimensions;
  for (size_t d = 0; d < tensor.sizes.size(); ++d) {
    if (tensor.sizes[d] != 1) dimensions.push_back({tensor.sizes[d], tensor.strides[d]});
  }
  return dimensions;
}

/// The matrix of a tensor: columns with one stride, and rows wherever they stand.
class StridedMatrix {
 public:
  StridedMatrix(const StridedTensor& tensor, MatrixShape shape)
      : tensor_(tensor), shape_(shape), rows_(long_dimensions(tensor)) {
    if (rows_.empty()) return;
    col_stride_ = rows_.back().stride;
    rows_.pop_back();
  }

  MatrixShape shape() const noexcept { return shape_; }
  DType dtype() const noexcept { return tensor_.dtype; }

  /// The values where they stand, or nothing where they are not rows with one stride.
  std::optional<MatrixView> in_place() const {
    const auto cols = static_cast<int64_t>(shape_.cols);
    if (cols > 1 && col_stride_ != 1) return std::nullopt;
    int64_t row_stride = cols, rows = 1;
    for (size_t d = rows_.size(); d-- > 0; rows *= rows_[d].size) {
      if (rows == 1) row_stride = rows_[d].stride;
      if (row_stride < cols || rows_[d].stride != row_stride * rows) return std::nullopt;
    }
    return MatrixView{tensor_.data, tensor_.dtype, shape_, static_cast<size_t>(row_stride)};
  }

  /// Calls visit(first element of a run, elements between neighbours, run length, row, first
  /// column) for runs of one row each that cover rows [begin, end), in an order that is kind to
  /// caches.
  template <typename Visit>
  void for_each_run(size_t begin, size_t end, const Visit& visit) const {
    std::vector<int64_t> offsets(end - begin);
    for (size_t row = begin; row < end; ++row) offsets[row - begin] = row_offset(row);
    const bool narrow = !rows_.empty() && std::abs(col_stride_) > std::abs(rows_.back().stride);
    const size_t tile = narrow ? kTileCols : shape_.cols;
    for (size_t col = 0; col < shape_.cols; col += tile) {
      const size_t count = std::min(tile, shape_.cols - col);
      const int64_t shift = static_cast<int64_t>(col) * col_stride_;
      for (size_t row = begin; row < end; ++row) {
        visit(offsets[row - begin] + shift, col_stride_, count, row, col);
      }
    }
  }

  /// Copies rows [begin, end) to `target`, contiguous. T has the size of an element.
  template <typename T>
  void copy_rows(size_t begin, size_t end, T* target) const {
    const T* const values = static_cast<const T*>(tensor_.data);
    for_each_run(begin, end,
                 [&](int64_t first, int64_t stride, size_t count, size_t row, size_t col) {
                   T* out = target + (row - begin) * shape_.cols + col;
                   for (const T* in = values + first; count > 0; --count, in += stride)
                     *out++ = *in;
                 });
  }

  /// Sets values to 0 wherever the mask is 0. The zero of all types is all bits 0.
  template <typename T>
  void drop(std::span<const uint8_t> mask) const {
    T* const values = static_cast<T*>(tensor_.data);
    for_each_run(0, shape_.rows,
                 [&](int64_t first, int64_t stride, size_t count, size_t row, size_t col) {
                   const uint8_t* keep = mask.data() + row * shape_.cols + col;
                   for (T* value = values + first; count > 0; --count, value += stride) {
                     if (*keep++ == 0) *value = T{0};
                   }
                 });
  }

 private:
  int64_t row_offset(size_t row) const {
    auto rest = static_cast<int64_t>(row);
    int64_t offset = 0;
    for (size_t d = rows_.size(); d-- > 0; rest /= rows_[d].size) {
      offset += rest % rows_[d].size * rows_[d].stride;
    }
    return offset;
  }

  const StridedTensor& tensor_;
  MatrixShape shape_;
  std::vector<Dimension> rows_;  // of which the last is the innermost
  int64_t col_stride_ = 1;
};

/// Calls function(T()) with the unsigned type of the size of an element.
template <typename Function>
void with_element(DType dtype, const Function& function) {
  const size_t bits = dtype_bits(dtype);
  if (bits == 16) return function(uint16_t{});
  if (bits == 32) return function(uint32_t{});
  function(uint64_t{});
}

/// Reads a matrix in pieces of whole rows of blocks, each of which the core takes for a matrix of
/// its own: that changes nothing, since their blocks in order are those of the matrix.
class PiecedMask {
 public:
  PiecedMask(const StridedMatrix& matrix, BlockShape block) : matrix_(matrix) {
    const MatrixShape shape = matrix.shape();
    const size_t high = std::min<uint64_t>(block.rows, shape.rows);
    const size_t row_bytes = shape.cols * dtype_bits(matrix.dtype()) / 8;
    rows_ = std::min(std::max(kPieceBytes / row_bytes / high, size_t{1}) * high, shape.rows);
    buffer_.reset(new uint64_t[(rows_ * row_bytes + 7) / 8]);
    for (size_t row = 0; row < shape.rows; row += rows_) {
      infos_.push_back({{std::min(rows_, shape.rows - row), shape.cols}, matrix.dtype()});
    }
  }

  Status write(const DataNormConfig& config, std::span<uint8_t> mask, ParallelFor& threads) {
    if (infos_.size() == 1) return compute_mask(load(0), config, mask, threads).status();
    WINNOW_ASSIGN_OR_RETURN(GlobalSelection selection, GlobalSelection::create(infos_, config));
    while (!selection.ready()) {
      for (size_t i = 0; i < infos_.size(); ++i) {
        WINNOW_RETURN_IF_ERROR(selection.visit(i, load(i), threads));
      }
      WINNOW_RETURN_IF_ERROR(selection.end_pass());
    }
    for (size_t i = 0; i < infos_.size(); ++i) {
      const std::span<uint8_t> part =
          mask.subspan(i * rows_ * matrix_.shape().cols, infos_[i].shape.numel());
      WINNOW_RETURN_IF_ERROR(selection.write_mask(i, load(i), part, threads).status());
    }
    return Status();
  }

 private:
  MatrixView load(size_t piece) {
    const size_t begin = piece * rows_;
    with_element(matrix_.dtype(), [&](auto element) {
      matrix_.copy_rows(begin, begin + infos_[piece].shape.rows,
                        reinterpret_cast<decltype(element)*>(buffer_.get()));
    });
    return contiguous_view(buffer_.get(), matrix_.dtype(), infos_[piece].shape);
  }

  const StridedMatrix& matrix_;
  size_t rows_;  // of a piece; the last may have fewer
  std::vector<MatrixInfo> infos_;
  std::unique_ptr<uint64_t[]> buffer_;
};

}  // namespace

bool is_contiguous(const StridedTensor& tensor) noexcept {
  int64_t expected = 1;
  for (size_t d = tensor.sizes.size(); d-- > 0; expected *= tensor.sizes[d]) {
    if (tensor.sizes[d] == 0) return true;
    if (tensor.sizes[d] != 1 && tensor.strides[d] != expected) return false;
  }
  return true;
}

bool is_expanded(const StridedTensor& tensor) noexcept {
  if (std::ranges::count(tensor.sizes, 0) > 0) return false;
  for (size_t d = 0; d < tensor.sizes.size(); ++d) {
    if (tensor.sizes[d] > 1 && tensor.strides[d] == 0) return true;
  }
  return false;
}

Status write_mask(const StridedTensor& tensor, const DataNormConfig& config,
                  std::span<uint8_t> mask, ParallelFor& threads) {
  WINNOW_RETURN_IF_ERROR(validate(config));
  WINNOW_ASSIGN_OR_RETURN(const MatrixShape shape, matrix_shape(tensor));
  if (shape.numel() == 0) return Status();
  const StridedMatrix matrix(tensor, shape);
  if (const auto view = matrix.in_place()) {
    return compute_mask(*view, config, mask, threads).status();
  }
  return PiecedMask(matrix, config.sparse_block_shape).write(config, mask, threads);
}

void drop_values(const StridedTensor& tensor, std::span<const uint8_t> mask) {
  if (mask.empty()) return;
  if (is_contiguous(tensor)) return apply_mask(tensor.data, tensor.dtype, mask);
  const Result<MatrixShape> shape = matrix_shape(tensor);
  with_element(tensor.dtype,
               [&](auto element) { StridedMatrix(tensor, *shape).drop<decltype(element)>(mask); });
}

}  // namespace winnow::python
