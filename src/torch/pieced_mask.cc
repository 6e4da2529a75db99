#include "torch/pieced_mask.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <vector>

#include "torch/check_status.h"
#include "torch/tensor_matrix.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/mask.h"

namespace winnow {
namespace {

/// All pieces of all matrices are numbered through; the core takes each for a matrix of its own,
/// which changes nothing since they hold whole blocks in order.
class PieceByPiece {
 public:
  PieceByPiece(std::span<const TensorMask> targets, const DataNormConfig& config,
               ParallelFor& threads)
      : config_(config), threads_(threads) {
    for (const TensorMask& target : targets) {
      if (target.data.numel() == 0) continue;
      matrices_.emplace_back(target.data, config.sparse_block_shape);
      masks_.push_back(mask_bytes(target.mask));
    }
  }

  void write() {
    if (matrices_.size() == 1 && matrices_[0].pieces().size() == 1) return write_at_once();
    std::vector<MatrixInfo> infos;
    for_each_piece([&](size_t, const PiecedMatrix& matrix, const Piece& piece, std::span<uint8_t>) {
      infos.push_back({piece.shape(), matrix.dtype()});
    });
    GlobalSelection selection = value_of(GlobalSelection::create(std::move(infos), config_));
    while (!selection.ready()) {
      for_each_piece(
          [&](size_t i, const PiecedMatrix& matrix, const Piece& piece, std::span<uint8_t>) {
            check_ok(selection.visit(i, matrix.load(piece, values_), threads_));
          });
      check_ok(selection.end_pass());
    }
    for_each_piece(
        [&](size_t i, const PiecedMatrix& matrix, const Piece& piece, std::span<uint8_t> mask) {
          write_piece(selection, i, matrix, piece, mask);
        });
  }

 private:
  /// Calls visit(number, matrix, piece, the mask of the matrix) for each piece in order.
  template <typename Visit>
  void for_each_piece(const Visit& visit) const {
    size_t number = 0;
    for (size_t m = 0; m < matrices_.size(); ++m) {
      for (const Piece& piece : matrices_[m].pieces()) {
        visit(number++, matrices_[m], piece, masks_[m]);
      }
    }
  }

  void write_at_once() {
    const MatrixView view = matrices_[0].load(matrices_[0].pieces()[0], values_);
    check_ok(compute_mask(view, config_, masks_[0], threads_).status());
  }

  void write_piece(const GlobalSelection& selection, size_t number, const PiecedMatrix& matrix,
                   const Piece& piece, std::span<uint8_t> mask) {
    const MatrixView view = matrix.load(piece, values_);
    const size_t cols = matrix.shape().cols, numel = view.numel();
    uint8_t* const target = mask.data() + piece.row * cols + piece.col;
    if (view.shape.cols == cols) {
      check_ok(selection.write_mask(number, view, {target, numel}, threads_).status());
      return;
    }
    // The rows of a piece that is narrower than the matrix stand apart in the mask.
    const at::Tensor bytes = narrow_mask_.take(static_cast<int64_t>(numel), at::kByte);
    auto* row = bytes.mutable_data_ptr<uint8_t>();
    check_ok(selection.write_mask(number, view, {row, numel}, threads_).status());
    for (size_t r = 0; r < view.shape.rows; ++r, row += view.shape.cols) {
      std::copy_n(row, view.shape.cols, target + r * cols);
    }
  }

  const DataNormConfig& config_;
  ParallelFor& threads_;
  std::vector<PiecedMatrix> matrices_;
  std::vector<std::span<uint8_t>> masks_;
  PieceBuffer values_, narrow_mask_;
};

}  // namespace

void write_pieced_masks(std::span<const TensorMask> targets, const DataNormConfig& config,
                        ParallelFor& threads) {
  const c10::InferenceMode guard;  // nothing here is differentiated
  PieceByPiece(targets, config, threads).write();
}

}  // namespace winnow
