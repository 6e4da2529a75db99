#include "core/views/strided_matrix.h"

#include <algorithm>
#include <cstring>

#include "core/tasks/tasks.h"

namespace winnow::core {
namespace {

// Large enough that threads share a piece, small enough that it stays in the caches.
constexpr size_t kPieceBytes = size_t{4} << 20;

// Values that one task copies: what starting a task costs is then nothing beside it.
constexpr size_t kTaskValues = size_t{1} << 16;

/// T has the size of an element: what is copied are bits.
template <typename T>
void copy_piece(const StridedView& values, const MatrixPiece& piece, T* target) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  const auto* const data = static_cast<const char*>(values.data);  // of any alignment
  StridedMatrix(values.layout)
      .for_each_run(piece,
                    [&](int64_t first, int64_t stride, size_t count, size_t row, size_t col) {
                      const char* in = data + first * kSize;
                      T* out = target + (row - piece.row) * piece.cols + (col - piece.col);
                      if (stride == 1) {
                        std::memcpy(out, in, count * sizeof(T));
                        return;
                      }
                      for (; count > 0; --count, in += stride * kSize)
                        std::memcpy(out++, in, sizeof(T));
                    });
}

template <typename T>
void copy_piece(const StridedView& values, const MatrixPiece& piece, T* target,
                ParallelFor& threads) {
  const size_t rows = std::clamp<size_t>(kTaskValues / piece.cols, 1, piece.rows);
  run_tasks(threads, (piece.rows - 1) / rows + 1, [&](size_t t) {
    const MatrixPiece part{piece.row + t * rows, std::min(rows, piece.rows - t * rows), piece.col,
                           piece.cols};
    copy_piece(values, part, target + t * rows * piece.cols);
  });
}

}  // namespace

std::vector<MatrixPiece> pieces_of(MatrixShape shape, DType dtype, BlockShape block) {
  return matrix_pieces(shape, dtype, block, kPieceBytes);
}

StridedMatrix::StridedMatrix(const StridedLayout& layout) noexcept
    : layout_(layout), shape_(matrix_shape(layout)), row_dims_(layout.sizes.size()) {
  const auto skip_ones = [&] {
    while (row_dims_ > 0 && layout.sizes[row_dims_ - 1] == 1) --row_dims_;
  };
  skip_ones();
  if (row_dims_ == 0) return;
  col_stride_ = layout.strides[--row_dims_];
  skip_ones();
  if (row_dims_ > 0) row_stride_ = layout.strides[row_dims_ - 1];
}

int64_t StridedMatrix::row_offset(size_t row) const noexcept {
  auto rest = static_cast<int64_t>(row);
  int64_t offset = 0;
  for (size_t d = row_dims_; d-- > 0 && rest > 0; rest /= layout_.sizes[d]) {
    offset += rest % layout_.sizes[d] * layout_.strides[d];
  }
  return offset;
}

MatrixView load_piece(const StridedView& values, const MatrixPiece& piece,
                      ScratchVector<uint64_t>& buffer, ParallelFor& threads) {
  const size_t size = dtype_bits(values.dtype) / 8;
  uint64_t* const target = buffer.room((piece.shape().numel() * size + 7) / 8);
  if (size == 2) {
    copy_piece(values, piece, reinterpret_cast<uint16_t*>(target), threads);
  } else if (size == 4) {
    copy_piece(values, piece, reinterpret_cast<uint32_t*>(target), threads);
  } else {
    copy_piece(values, piece, target, threads);
  }
  return contiguous_view(target, values.dtype, piece.shape());
}

}  // namespace winnow::core
