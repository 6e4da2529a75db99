// Masks of tensors of any layout: in place, or by pieces that the core takes for matrices.
#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "core/tasks/scratch.h"
#include "core/views/strided_matrix.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/mask.h"

namespace winnow {
namespace {

/// Values, the pieces that they are read in, and their mask.
struct PiecedTensor {
  StridedView values;
  std::span<uint8_t> mask;
  std::optional<MatrixView> in_place;  // then there is one piece
  std::vector<MatrixPiece> pieces;
};

std::span<uint8_t> bytes_of(const StridedTarget& target) {
  return {target.mask.data, static_cast<size_t>(target.values.layout.numel())};
}

/// All pieces of all tensors, numbered through, under one budget. Taking each for a matrix of its
/// own changes nothing, since they hold whole blocks in order.
class PieceByPiece {
 public:
  PieceByPiece(const DataNormConfig& config, ParallelFor& threads)
      : config_(config), threads_(threads) {}

  void add(const StridedView& values, std::span<uint8_t> mask) {
    const MatrixShape shape = matrix_shape(values.layout);
    if (shape.numel() == 0) return;
    PiecedTensor tensor{values, mask, view_in_place(values), {}};
    tensor.pieces = tensor.in_place
                        ? std::vector<MatrixPiece>{{0, shape.rows, 0, shape.cols}}
                        : core::pieces_of(shape, values.dtype, config_.sparse_block_shape);
    tensors_.push_back(std::move(tensor));
  }

  Result<MaskStats> write() {
    if (tensors_.size() == 1 && tensors_[0].pieces.size() == 1) {
      return compute_mask(load(tensors_[0], tensors_[0].pieces[0]), config_, tensors_[0].mask,
                          threads_);
    }
    std::vector<MatrixInfo> infos;
    for (const PiecedTensor& tensor : tensors_) {
      for (const MatrixPiece& piece : tensor.pieces)
        infos.push_back({piece.shape(), tensor.values.dtype});
    }
    WINNOW_ASSIGN_OR_RETURN(GlobalSelection selection,
                            GlobalSelection::create(std::move(infos), config_));
    while (!selection.ready()) {
      WINNOW_RETURN_IF_ERROR(
          for_each_piece([&](size_t i, PiecedTensor& tensor, const MatrixPiece& piece) {
            return selection.visit(i, load(tensor, piece), threads_);
          }));
      WINNOW_RETURN_IF_ERROR(selection.end_pass());
    }
    MaskStats sum;
    WINNOW_RETURN_IF_ERROR(
        for_each_piece([&](size_t i, PiecedTensor& tensor, const MatrixPiece& piece) {
          return write_piece(selection, i, tensor, piece, sum);
        }));
    return sum;
  }

 private:
  /// Calls visit(number, tensor, piece) for each piece in order, up to the first error.
  template <typename Visit>
  Status for_each_piece(const Visit& visit) {
    size_t number = 0;
    for (PiecedTensor& tensor : tensors_) {
      for (const MatrixPiece& piece : tensor.pieces) {
        WINNOW_RETURN_IF_ERROR(visit(number++, tensor, piece));
      }
    }
    return {};
  }

  MatrixView load(const PiecedTensor& tensor, const MatrixPiece& piece) {
    if (tensor.in_place) return *tensor.in_place;
    return core::load_piece(tensor.values, piece, values_, threads_);
  }

  Status write_piece(const GlobalSelection& selection, size_t number, const PiecedTensor& tensor,
                     const MatrixPiece& piece, MaskStats& sum) {
    const MatrixView values = load(tensor, piece);
    const size_t cols = matrix_shape(tensor.values.layout).cols, numel = values.numel();
    uint8_t* const target = tensor.mask.data() + piece.row * cols + piece.col;
    const bool whole_rows = piece.cols == cols;
    uint8_t* const bytes = whole_rows ? target : narrow_mask_.room(numel);
    WINNOW_ASSIGN_OR_RETURN(const MaskStats stats,
                            selection.write_mask(number, values, {bytes, numel}, threads_));
    sum += stats;
    // The rows of a piece that is narrower than the tensor stand apart in the mask.
    for (size_t r = 0; r < (whole_rows ? 0 : piece.rows); ++r) {
      std::copy_n(bytes + r * piece.cols, piece.cols, target + r * cols);
    }
    return {};
  }

  const DataNormConfig& config_;
  ParallelFor& threads_;
  std::vector<PiecedTensor> tensors_;
  core::ScratchVector<uint64_t> values_;
  core::ScratchVector<uint8_t> narrow_mask_;
};

/// The targets as matrices in place; empty if one of them cannot be read there.
std::vector<MaskTarget> targets_in_place(std::span<const StridedTarget> targets) {
  std::vector<MaskTarget> in_place;
  in_place.reserve(targets.size());
  for (const StridedTarget& target : targets) {
    const std::optional<MatrixView> view = view_in_place(target.values);
    if (!view) return {};
    in_place.push_back({*view, bytes_of(target)});
  }
  return in_place;
}

}  // namespace

Result<MaskStats> compute_mask(const StridedView& values, const DataNormConfig& config,
                               std::span<uint8_t> mask, ParallelFor& threads) try {
  if (const auto view = view_in_place(values)) return compute_mask(*view, config, mask, threads);
  WINNOW_RETURN_IF_ERROR(validate(config));  // its block shapes the pieces
  WINNOW_RETURN_IF_ERROR(check_prunable(values.dtype, "data"));
  WINNOW_RETURN_IF_ERROR(check_mask_size(mask.size(), static_cast<size_t>(values.layout.numel())));
  PieceByPiece pieces(config, threads);
  pieces.add(values, mask);
  return pieces.write();
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

Status compute_masks(std::span<const StridedTarget> targets,
                     std::span<const DataNormConfig> configs, ParallelFor& threads) try {
  if (configs.size() != 1 && configs.size() != targets.size()) {
    return {ErrorCode::kInvalidArgument, "configs: expected 1 or " +
                                             std::to_string(targets.size()) + ", found " +
                                             std::to_string(configs.size())};
  }
  for (const DataNormConfig& config : configs) WINNOW_RETURN_IF_ERROR(validate(config));
  WINNOW_RETURN_IF_ERROR(check_targets(targets));
  for (size_t i = 0; i < targets.size(); ++i) {
    const DataNormConfig& config = configs.size() == 1 ? configs[0] : configs[i];
    WINNOW_RETURN_IF_ERROR(
        compute_mask(targets[i].values, config, bytes_of(targets[i]), threads).status());
  }
  return {};
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

Result<MaskStats> compute_global_masks(std::span<const StridedTarget> targets,
                                       const DataNormConfig& config, ParallelFor& threads) try {
  WINNOW_RETURN_IF_ERROR(check_targets(targets));
  const std::vector<MaskTarget> in_place = targets_in_place(targets);
  if (in_place.size() == targets.size()) return compute_global_masks(in_place, config, threads);
  WINNOW_RETURN_IF_ERROR(validate(config));
  PieceByPiece pieces(config, threads);
  for (const StridedTarget& target : targets) pieces.add(target.values, bytes_of(target));
  return pieces.write();
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

}  // namespace winnow
