#include "torch/tensor_matrix.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "torch/dtype_map.h"

namespace winnow {
namespace {

// Large enough that threads share a piece, small enough that it stays in the caches.
constexpr int64_t kPieceBytes = 4 << 20;

/// The stride between the rows of the folded matrix, in elements; nothing where there is none.
std::optional<int64_t> row_stride_of(const at::Tensor& data, MatrixShape shape) {
  const auto cols = static_cast<int64_t>(shape.cols);
  int64_t row_stride = cols, rows = 1;
  bool at_columns = true;
  for (int64_t d = data.dim() - 1; d >= 0; --d) {
    const int64_t size = data.size(d), stride = data.stride(d);
    if (size == 1) continue;
    if (at_columns) {
      if (stride != 1) return std::nullopt;
      at_columns = false;
      continue;
    }
    if (rows == 1) row_stride = stride;
    if (row_stride < cols || stride != row_stride * rows) return std::nullopt;
    rows *= size;
  }
  return row_stride;
}

std::vector<Piece> pieces_of(MatrixShape shape, BlockShape block, int64_t most_values) {
  const auto rows = static_cast<int64_t>(shape.rows), cols = static_cast<int64_t>(shape.cols);
  const auto high = static_cast<int64_t>(std::min<uint64_t>(block.rows, shape.rows));
  const auto wide = static_cast<int64_t>(std::min<uint64_t>(block.cols, shape.cols));
  int64_t piece_rows = high, piece_cols = cols;
  if (high * cols <= most_values) {
    piece_rows = most_values / cols / high * high;
  } else {
    piece_cols = std::max(wide, most_values / high / wide * wide);
  }
  std::vector<Piece> pieces;
  for (int64_t row = 0; row < rows; row += piece_rows) {
    for (int64_t col = 0; col < cols; col += piece_cols) {
      pieces.push_back(
          {row, std::min(piece_rows, rows - row), col, std::min(piece_cols, cols - col)});
    }
  }
  return pieces;
}

/// Copies `source` to `target`, of the same sizes. Where neighbours in a column stand closer
/// together than those in a row, 64 columns at a time: their cache lines then last until the next
/// row.
void copy_values(const at::Tensor& source, const at::Tensor& target) {
  constexpr int64_t kCols = 64;
  if (source.stride(-1) <= source.stride(-2)) {
    target.copy_(source);
    return;
  }
  for (int64_t col = 0; col < source.size(-1); col += kCols) {
    const int64_t count = std::min(kCols, source.size(-1) - col);
    target.narrow(-1, col, count).copy_(source.narrow(-1, col, count));
  }
}

/// Copies rows [begin, end) of `source`, all of whose dimensions but the last are rows, to `target`
/// [end - begin, cols]: whole slices of the first dimension in one piece, parts of them likewise.
void copy_rows(const at::Tensor& source, int64_t begin, int64_t end, const at::Tensor& target) {
  if (begin == end) return;
  const int64_t cols = source.size(-1);
  const int64_t inner = source.numel() / source.size(0) / cols;  // rows in a slice
  const int64_t first = (begin + inner - 1) / inner, past = end / inner;
  if (first > past) return copy_rows(source[past], begin % inner, end % inner, target);
  const int64_t head = first * inner - begin, whole = (past - first) * inner;
  if (head > 0) copy_rows(source[first - 1], inner - head, inner, target.narrow(0, 0, head));
  if (whole > 0) {
    const at::Tensor slices = source.narrow(0, first, past - first);
    copy_values(slices, target.narrow(0, head, whole).view(slices.sizes()));
  }
  if (end % inner > 0) {
    copy_rows(source[past], 0, end % inner, target.narrow(0, head + whole, end % inner));
  }
}

at::Tensor with_rows(const at::Tensor& data) {
  const at::Tensor squeezed = data.detach().squeeze();
  if (squeezed.dim() >= 2) return squeezed;
  return squeezed.reshape({1, squeezed.numel()});
}

}  // namespace

MatrixShape matrix_shape(const at::Tensor& tensor) {
  const int64_t numel = tensor.numel();
  if (numel == 0) return {0, 0};
  int64_t cols = 1;
  for (const int64_t size : tensor.sizes()) {
    if (size != 1) cols = size;
  }
  return {static_cast<size_t>(numel / cols), static_cast<size_t>(cols)};
}

std::optional<MatrixView> view_in_place(const at::Tensor& data) {
  // A tensor of zeros without memory is read as any other by copies. The lazy sign of a tensor
  // needs no look: scores have none.
  if (data._is_zerotensor()) return std::nullopt;
  const MatrixShape shape = matrix_shape(data);
  const auto row_stride =
      data.is_contiguous() ? static_cast<int64_t>(shape.cols) : row_stride_of(data, shape);
  if (!row_stride) return std::nullopt;
  return MatrixView{data.const_data_ptr(), *dtype_of(data.scalar_type()), shape,
                    static_cast<size_t>(*row_stride)};
}

std::span<uint8_t> mask_bytes(const at::Tensor& mask) {
  return {reinterpret_cast<uint8_t*>(mask.mutable_data_ptr<int8_t>()),
          static_cast<size_t>(mask.numel())};
}

at::Tensor PieceBuffer::take(int64_t numel, c10::ScalarType dtype) {
  const auto bytes = numel * static_cast<int64_t>(c10::elementSize(dtype));
  if (!bytes_.defined() || bytes_.numel() < bytes) {
    bytes_ = at::Tensor();  // the old memory goes before the new comes
    bytes_ = at::empty({bytes}, at::kByte);
  }
  return bytes_.narrow(0, 0, bytes).view(dtype);
}

PiecedMatrix::PiecedMatrix(const at::Tensor& data, BlockShape block)
    : in_place_(view_in_place(data)),
      shape_(matrix_shape(data)),
      dtype_(*dtype_of(data.scalar_type())) {
  if (in_place_) {
    pieces_ = {{0, static_cast<int64_t>(shape_.rows), 0, static_cast<int64_t>(shape_.cols)}};
    return;
  }
  rows_ = with_rows(data);
  pieces_ = pieces_of(shape_, block, kPieceBytes / data.element_size());
}

MatrixView PiecedMatrix::load(const Piece& piece, PieceBuffer& buffer) const {
  if (in_place_) return *in_place_;
  const at::Tensor values =
      buffer.take(piece.rows * piece.cols, rows_.scalar_type()).view({piece.rows, piece.cols});
  copy_rows(rows_.narrow(-1, piece.col, piece.cols), piece.row, piece.row + piece.rows, values);
  return contiguous_view(values.const_data_ptr(), dtype_, piece.shape());
}

}  // namespace winnow
