#include "torch/aten_mask.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "torch/tensor_matrix.h"
#include "winnow/base/checked.h"

namespace winnow {
namespace {

// With a plain bool, at::sort would take it for the dimension.
constexpr std::optional<bool> kStable = true;

/// Gives all NaN the same bits, so that any sort leaves them in their order.
at::Tensor with_equal_nan(const at::Tensor& scores) {
  return scores.masked_fill(scores.isnan(), std::numeric_limits<double>::quiet_NaN());
}

/// How many of `size` positions each of `count` sides of length `side` covers; the last is clipped.
at::Tensor clipped_sides(int64_t size, int64_t side, int64_t count, const at::Device& device) {
  at::Tensor sides = at::full({count}, side, at::TensorOptions(device).dtype(at::kLong));
  sides.narrow(0, count - 1, 1).fill_(size - (count - 1) * side);
  return sides;
}

/// One matrix and its grid of blocks, whose sides are cut down to those of the matrix.
class AtenMatrix {
 public:
  AtenMatrix(const TensorMask& target, const DataNormConfig& config);

  int64_t blocks() const noexcept { return grid_rows_ * grid_cols_; }

  /// The mean score of each block, [blocks], every NaN alike.
  at::Tensor keys() const;

  /// Writes the mask: the blocks that `dropped` [blocks] marks fall, or their lowest values.
  void write(const at::Tensor& dropped) const;
  void fill(bool keep) const { mask_.fill_(keep ? 1 : 0); }

 private:
  at::Tensor scores() const;
  at::Tensor in_grid(const at::Tensor& scores, double padding) const;
  at::Tensor falling() const;
  at::Tensor limits_of_nan() const;

  at::Tensor data_, mask_;  // [rows, cols]
  Norm norm_;
  std::optional<uint64_t> zeros_;  // unset: the whole block
  int64_t rows_, cols_;
  int64_t block_rows_, block_cols_;
  uint64_t outside_;  // columns by which a block is wider than the matrix
  int64_t grid_rows_, grid_cols_;
};

AtenMatrix::AtenMatrix(const TensorMask& target, const DataNormConfig& config)
    : norm_(config.norm), zeros_(config.zeros_per_block) {
  const MatrixShape shape = matrix_shape(target.data);
  const BlockShape block = config.sparse_block_shape;
  rows_ = static_cast<int64_t>(shape.rows);
  cols_ = static_cast<int64_t>(shape.cols);
  data_ = target.data.detach().reshape({rows_, cols_});
  mask_ = target.mask.view({rows_, cols_});
  block_rows_ = static_cast<int64_t>(std::min<uint64_t>(block.rows, shape.rows));
  block_cols_ = static_cast<int64_t>(std::min<uint64_t>(block.cols, shape.cols));
  outside_ = block.cols - static_cast<uint64_t>(block_cols_);
  grid_rows_ = (rows_ - 1) / block_rows_ + 1;
  grid_cols_ = (cols_ - 1) / block_cols_ + 1;
  const auto size = checked_mul(static_cast<uint64_t>(block_rows_), block.cols);
  if (zeros_ && size && *zeros_ >= *size) zeros_ = std::nullopt;
}

/// Of each value, [rows, cols]; of F16 and BF16 as F32.
at::Tensor AtenMatrix::scores() const {
  const at::Tensor values = data_.scalar_type() == at::kDouble ? data_ : data_.to(at::kFloat);
  return with_equal_nan(norm_ == Norm::kL1 ? values.abs() : values * values);
}

/// As [grid rows, block rows, grid columns, block columns], filled up to whole blocks.
at::Tensor AtenMatrix::in_grid(const at::Tensor& scores, double padding) const {
  const int64_t right = grid_cols_ * block_cols_ - cols_, below = grid_rows_ * block_rows_ - rows_;
  const at::Tensor padded = right + below == 0
                                ? scores.contiguous()
                                : at::constant_pad_nd(scores, {0, right, 0, below}, padding);
  return padded.view({grid_rows_, block_rows_, grid_cols_, block_cols_});
}

at::Tensor AtenMatrix::keys() const {
  const at::Tensor grid = in_grid(scores(), 0);  // adding 0 changes no sum of scores
  at::Tensor sums = at::zeros({grid_rows_, grid_cols_}, grid.options());
  for (int64_t r = 0; r < block_rows_; ++r) {
    const at::Tensor row = grid.select(1, r);
    for (int64_t c = 0; c < block_cols_; ++c) sums.add_(row.select(2, c));
  }
  const at::Device device = grid.device();
  const at::Tensor counts = clipped_sides(rows_, block_rows_, grid_rows_, device).unsqueeze(1) *
                            clipped_sides(cols_, block_cols_, grid_cols_, device);
  // By a tensor: a division by a number may become a product with its inverse.
  return with_equal_nan(sums.div_(counts.to(sums.scalar_type()))).view({blocks()});
}

/// Up to which rank the NaN of each position of a block falls, [values of a block]. Positions to
/// the right of the matrix count as NaN that come before those of the next row.
at::Tensor AtenMatrix::limits_of_nan() const {
  const int64_t size = block_rows_ * block_cols_;
  const at::Tensor limits = at::empty({block_rows_}, at::kLong);
  auto* limit = limits.mutable_data_ptr<int64_t>();
  uint64_t left = *zeros_;
  for (int64_t r = 0; r < block_rows_; ++r, left -= std::min(left, outside_)) {
    limit[r] = static_cast<int64_t>(std::min(left, static_cast<uint64_t>(size)));
  }
  return limits.to(data_.device()).repeat_interleave(block_cols_, 0, size);
}

/// Which values fall where their block does, in the grid's shape: those of the lowest ranks.
at::Tensor AtenMatrix::falling() const {
  const at::Tensor grid = in_grid(scores(), std::numeric_limits<double>::quiet_NaN());
  const int64_t size = block_rows_ * block_cols_;
  const at::Tensor in_blocks = grid.permute({0, 2, 1, 3}).reshape({blocks(), size});
  const auto [sorted, index] = at::sort(in_blocks, kStable, /*dim=*/1);
  const at::Tensor rank = at::arange(size, index.options());
  const auto limit = static_cast<int64_t>(std::min(*zeros_, static_cast<uint64_t>(size)));
  const at::Tensor falls =
      at::where(sorted.isnan(), rank < limits_of_nan().take(index), rank < limit);
  return at::zeros_like(falls)
      .scatter_(1, index, falls)
      .view({grid_rows_, grid_cols_, block_rows_, block_cols_})
      .permute({0, 2, 1, 3});
}

void AtenMatrix::write(const at::Tensor& dropped) const {
  at::Tensor falls = dropped.to(data_.device()).view({grid_rows_, 1, grid_cols_, 1});
  falls = zeros_ ? falls.logical_and(falling())
                 : falls.expand({grid_rows_, block_rows_, grid_cols_, block_cols_});
  const at::Tensor whole =
      falls.logical_not().reshape({grid_rows_ * block_rows_, grid_cols_ * block_cols_});
  mask_.copy_(whole.narrow(0, 0, rows_).narrow(1, 0, cols_));
}

/// Marks the `count` lowest keys of all matrices, [all blocks] in their order.
at::Tensor lowest_blocks(std::span<const AtenMatrix> matrices, int64_t count) {
  std::vector<at::Tensor> keys;
  for (const AtenMatrix& matrix : matrices) keys.push_back(matrix.keys());
  const bool wide = std::ranges::any_of(
      keys, [](const at::Tensor& each) { return each.scalar_type() == at::kDouble; });
  const at::Device device = keys.front().device();
  for (at::Tensor& each : keys) each = each.to(device, wide ? at::kDouble : at::kFloat);
  const at::Tensor all = at::cat(keys);
  const at::Tensor order = std::get<1>(at::sort(all, kStable, /*dim=*/0));
  return at::zeros({all.numel()}, all.options().dtype(at::kBool))
      .index_fill_(0, order.narrow(0, 0, count), 1);
}

}  // namespace

void write_aten_masks(std::span<const TensorMask> targets, const DataNormConfig& config) {
  const c10::InferenceMode guard;  // nothing here is differentiated
  std::vector<AtenMatrix> matrices;
  int64_t blocks = 0;
  for (const TensorMask& target : targets) {
    if (target.data.numel() == 0) continue;
    matrices.emplace_back(target, config);
    blocks += matrices.back().blocks();
  }
  const auto selected =
      static_cast<int64_t>(blocks_to_drop(config.sparsity_level, static_cast<uint64_t>(blocks)));
  if (selected == 0 || config.zeros_per_block == uint64_t{0}) {
    for (const AtenMatrix& matrix : matrices) matrix.fill(true);
    return;
  }
  const at::Tensor dropped =
      selected < blocks ? lowest_blocks(matrices, selected) : at::ones({blocks}, at::kBool);
  int64_t first = 0;
  for (const AtenMatrix& matrix : matrices) {
    matrix.write(dropped.narrow(0, first, matrix.blocks()));
    first += matrix.blocks();
  }
}

}  // namespace winnow
