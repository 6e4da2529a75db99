#include "core/views/block_matrix.h"

#include <bit>
#include <cassert>

#include "base/float_format.h"
#include "kernels/scalar_key.h"
#include "winnow/base/checked.h"

namespace winnow::core {
namespace {

// The score of the number whose 32-bit key this is, as the key of the same F64. A NaN stays one,
// and its bits are above those of infinity whatever its payload became.
int64_t widen_key(int32_t key) noexcept {
  const double score = std::bit_cast<float>(key);
  return std::min(std::bit_cast<int64_t>(score), kernels::kNanKey<int64_t>);
}

size_t itemsize(DType dtype) noexcept { return dtype_bits(dtype) / 8; }

}  // namespace

BlockMatrix::BlockMatrix(const MatrixView& values, const DataNormConfig& config,
                         const kernels::KernelTable& table)
    : values_(values),
      block_(config.sparse_block_shape),
      norm_(config.norm),
      zeros_(config.zeros_per_block.value_or(0)),
      table_(&table),
      rows_(values.shape.rows),
      cols_(values.shape.cols) {
  // To drop all values of a block needs no look inside of it. Sides may be as large as integers
  // are.
  const auto size = checked_mul(block_.rows, block_.cols);
  whole_ = !config.zeros_per_block || (size && *size == zeros_);
  if (values.numel() == 0) return;
  trim_block();
  // If no block is clipped at the right edge, rows of blocks follow each other without a seam.
  if (block_.rows == 1 && cols_ % block_.cols == 0 && values.row_stride == cols_) {
    cols_ *= rows_;
    rows_ = 1;
    values_.row_stride = cols_;
  }
  grid_cols_ = block_count({1, cols_}, block_);
  blocks_ = block_count({rows_, cols_}, block_);
}

// Cuts sides down to those of the matrix, so that blocks as long as a row are not clipped blocks.
// Positions outside count if they come before a NaN: those to the right of several rows stay.
void BlockMatrix::trim_block() noexcept {
  block_.rows = std::min<uint64_t>(block_.rows, rows_);
  const bool outside_comes_last = block_.rows == 1 || block_.cols <= cols_;
  if (!whole_ && !outside_comes_last) return;
  block_.cols = std::min<uint64_t>(block_.cols, cols_);
  whole_ = whole_ || zeros_ >= block_.rows * block_.cols;
}

const void* BlockMatrix::element_at(size_t row, size_t col) const noexcept {
  const size_t offset = row * values_.row_stride + col;
  return static_cast<const char*>(values_.data) + offset * itemsize(values_.dtype);
}

kernels::BlockRun BlockMatrix::elements(const Run& run) const noexcept {
  return {element_at(run.row, run.col), values_.row_stride, run.block_rows, run.block_cols,
          run.count};
}

template <>
const kernels::ValueKernels<int32_t>& BlockMatrix::value_kernels() const noexcept {
  if (values_.dtype == DType::kF16) return table_->f16.of(norm_);
  if (values_.dtype == DType::kBF16) return table_->bf16.of(norm_);
  return table_->f32.of(norm_);
}

template <>
const kernels::ValueKernels<int64_t>& BlockMatrix::value_kernels() const noexcept {
  return table_->f64.of(norm_);
}

void BlockMatrix::fill_keys(size_t first, size_t count, int32_t* keys) const {
  const auto score = value_kernels<int32_t>().score;
  for_each_run(first, count, count,
               [&](const Run& run) { score(elements(run), keys + (run.first_block - first)); });
}

void BlockMatrix::fill_keys(size_t first, size_t count, int64_t* keys) const {
  if (values_.dtype == DType::kF64) {
    const auto score = value_kernels<int64_t>().score;
    for_each_run(first, count, count,
                 [&](const Run& run) { score(elements(run), keys + (run.first_block - first)); });
    return;
  }
  // A matrix of 32-bit scores under one budget with an F64 one: its keys have to be comparable.
  constexpr size_t kPiece = 1024;
  int32_t narrow[kPiece];
  for (size_t done = 0; done < count; done += kPiece) {
    const size_t here = std::min(kPiece, count - done);
    fill_keys(first + done, here, narrow);
    std::transform(narrow, narrow + here, keys + done, widen_key);
  }
}

void BlockMatrix::drop_in_blocks(const Run& run, const uint64_t* keep, uint8_t* mask,
                                 size_t mask_stride, uint64_t* unresolved) const {
  assert(0 < zeros_ && zeros_ < run.block_rows * run.block_cols);
  assert(run.block_rows * run.block_cols <= kernels::kMaxTile);
  const auto drop = values_.dtype == DType::kF64 ? value_kernels<int64_t>().drop_in_blocks
                                                 : value_kernels<int32_t>().drop_in_blocks;
  drop(elements(run), zeros_, keep, mask, mask_stride, unresolved);
}

// The score that the kernels compute for vectors, for single values: MaskWriter's plain rule has to
// see the same keys.
int64_t BlockMatrix::value_key(size_t row, size_t col) const noexcept {
  const size_t index = row * values_.row_stride + col;
  return with_format(values_.dtype, [&](auto format) -> int64_t {
    const auto magnitude = format.magnitude(load_bits(format, values_.data, index));
    return kernels::scalar_key_of(kernels::scalar_score_of(magnitude, norm_));
  });
}

}  // namespace winnow::core
