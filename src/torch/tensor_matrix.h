// PRIVATE. CPU tensors of any layout as the matrices that the core takes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"

namespace winnow {

/// The matrix of a tensor: dimensions of size 1 dropped, the last of the others the columns, the
/// rest folded into rows. {0, 0} where the tensor is empty.
MatrixShape matrix_shape(const at::Tensor& tensor);

/// The values where they stand, or nothing where they are not laid out in rows with one stride.
/// Preconditions: strided, on the CPU, of a prunable dtype.
std::optional<MatrixView> view_in_place(const at::Tensor& data);

/// The bytes of a mask. Precondition: int8, contiguous, on the CPU.
std::span<uint8_t> mask_bytes(const at::Tensor& mask);

/// Memory for one piece after the other.
class PieceBuffer {
 public:
  /// A flat tensor of `numel` values, not initialised. What was taken before is lost.
  at::Tensor take(int64_t numel, c10::ScalarType dtype);

 private:
  at::Tensor bytes_;
};

/// A rectangle of a matrix, made of whole blocks but for the edges.
struct Piece {
  int64_t row, rows, col, cols;

  MatrixShape shape() const noexcept {
    return {static_cast<size_t>(rows), static_cast<size_t>(cols)};
  }
};

/// A tensor that the core reads piece by piece: where it stands, or by copies of a few MiB (of one
/// block, where that is more). The blocks of all pieces in order are those of the matrix in order.
class PiecedMatrix {
 public:
  /// Preconditions as view_in_place; the tensor is not empty.
  PiecedMatrix(const at::Tensor& data, BlockShape block);

  const std::vector<Piece>& pieces() const noexcept { return pieces_; }
  DType dtype() const noexcept { return dtype_; }
  MatrixShape shape() const noexcept { return shape_; }

  /// The values of a piece; valid until `buffer` is used again.
  MatrixView load(const Piece& piece, PieceBuffer& buffer) const;

 private:
  std::optional<MatrixView> in_place_;
  at::Tensor rows_;  // [..., cols], all dimensions but the last are rows
  MatrixShape shape_;
  DType dtype_;
  std::vector<Piece> pieces_;
};

}  // namespace winnow
