// What the tests of kernels that read values share: the kernels by type and norm, and values
// between guard pages.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/kernel_table.h"
#include "support/guarded_buffer.h"
#include "support/reference_mask.h"
#include "support/values.h"

namespace winnow::kernels {

/// Calls visit(dtype, norm, kernels) for the value kernels of every type and norm.
template <typename Visit>
void for_each_value_kernels(const KernelTable& table, const Visit& visit) {
  for (const Norm norm : {Norm::kL1, Norm::kL2}) {
    visit(DType::kF32, norm, table.f32.of(norm));
    visit(DType::kF16, norm, table.f16.of(norm));
    visit(DType::kBF16, norm, table.bf16.of(norm));
    visit(DType::kF64, norm, table.f64.of(norm));
  }
}

/// A matrix that ends at a guard page or begins `misalignment` bytes behind one.
class GuardedMatrix {
 public:
  using Flush = testing::GuardedBuffer::Flush;

  GuardedMatrix(DType dtype, MatrixShape shape, size_t row_stride, testing::Fill fill, Flush flush,
                size_t misalignment = 0)
      : shape_(shape),
        row_stride_(row_stride),
        dtype_(dtype),
        misalignment_(misalignment),
        buffer_(misalignment + bytes(), flush) {
    testing::Values source(dtype, shape, row_stride);
    testing::fill(source, shape, fill, shape.numel());
    std::memcpy(data(), source.view().data, bytes());
  }

  MatrixView view() { return {data(), dtype_, shape_, row_stride_}; }

  /// Its columns as blocks that are as high as the matrix.
  BlockRun run(size_t block_cols) {
    return {data(), row_stride_, shape_.rows, block_cols, shape_.cols / block_cols};
  }

 private:
  size_t bytes() const {
    const size_t numel = shape_.numel() == 0 ? 0 : (shape_.rows - 1) * row_stride_ + shape_.cols;
    return numel * dtype_bits(dtype_) / 8;
  }
  char* data() { return buffer_.as<char>() + misalignment_; }

  MatrixShape shape_;
  size_t row_stride_;
  DType dtype_;
  size_t misalignment_;
  testing::GuardedBuffer buffer_;
};

/// The key of a score that the reference computed.
template <typename Key>
Key key_ref(double score) {
  using Score = std::conditional_t<sizeof(Key) == 4, float, double>;
  return std::isnan(score) ? kNanKey<Key> : std::bit_cast<Key>(static_cast<Score>(score));
}

/// The keys of the blocks that `run(block_cols)` of a matrix has.
template <typename Key>
std::vector<Key> keys_ref(const MatrixView& view, size_t block_cols, Norm norm) {
  std::vector<Key> keys;
  for (const reference::Block& block :
       reference::blocks_of(view, 0, {1, {view.shape.rows, block_cols}, {}, norm})) {
    keys.push_back(key_ref<Key>(block.mean));
  }
  return keys;
}

}  // namespace winnow::kernels
