// The mask rule in the plainest form, without any code of the library, as a reference for all
// kernels. It favours clarity over speed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"

namespace winnow::reference {

inline double half_to_double(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double magnitude = 0;
  if (exponent == (1 << exponent_bits) - 1) {
    magnitude = mantissa != 0 ? NAN : INFINITY;
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    magnitude = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

inline double element(const MatrixView& m, size_t r, size_t c) {
  const size_t i = r * m.row_stride + c;
  const auto* bytes = static_cast<const char*>(m.data);
  uint16_t half = 0;
  float single = 0;
  double real = 0;
  switch (m.dtype) {
    case DType::kF16:
      std::memcpy(&half, bytes + 2 * i, 2);
      return half_to_double(half, 5, 10);
    case DType::kBF16:
      std::memcpy(&half, bytes + 2 * i, 2);
      return half_to_double(half, 8, 7);
    case DType::kF64:
      std::memcpy(&real, bytes + 8 * i, 8);
      return real;
    default:
      std::memcpy(&single, bytes + 4 * i, 4);
      return single;
  }
}

// volatile makes each operation round separately: the compiler must not fuse or widen them.
template <typename Real>
Real score(double value, Norm norm) {
  const Real magnitude = std::fabs(static_cast<Real>(value));
  volatile Real result = norm == Norm::kL1 ? magnitude : magnitude * magnitude;
  return result;
}

inline bool is_less(double a, double b) {  // NaN above all
  if (std::isnan(a)) return false;
  if (std::isnan(b)) return true;
  return a < b;
}

struct Block {
  size_t matrix, row, col, rows, cols;
  double mean;
};

template <typename Real>
double block_mean(const MatrixView& m, const Block& b, Norm norm) {
  Real sum = 0;
  for (size_t r = 0; r < b.rows; ++r) {
    for (size_t c = 0; c < b.cols; ++c) {
      volatile Real next = sum + score<Real>(element(m, b.row + r, b.col + c), norm);
      sum = next;
    }
  }
  return sum / static_cast<Real>(b.rows * b.cols);
}

inline std::vector<Block> blocks_of(const MatrixView& m, size_t index,
                                    const DataNormConfig& config) {
  std::vector<Block> blocks;
  const auto [bh, bw] = config.sparse_block_shape;
  for (size_t r = 0; r < m.shape.rows; r += bh) {
    for (size_t c = 0; c < m.shape.cols; c += bw) {
      Block b{index,
              r,
              c,
              std::min<size_t>(bh, m.shape.rows - r),
              std::min<size_t>(bw, m.shape.cols - c),
              0};
      b.mean = m.dtype == DType::kF64 ? block_mean<double>(m, b, config.norm)
                                      : block_mean<float>(m, b, config.norm);
      blocks.push_back(b);
    }
  }
  return blocks;
}

// Python's round(): half to even.
inline double round_half_even(double x) {
  const double down = std::floor(x), rest = x - down;
  if (rest < 0.5) return down;
  if (rest > 0.5) return down + 1;
  return std::fmod(down, 2) == 0 ? down : down + 1;
}

inline void drop_in_block(const MatrixView& m, const Block& b, const DataNormConfig& config,
                          std::vector<uint8_t>& mask) {
  const auto [bh, bw] = config.sparse_block_shape;
  struct Cell {
    double score;
    size_t row, col;
  };
  std::vector<Cell> cells;
  for (size_t r = 0; r < bh; ++r) {
    for (size_t c = 0; c < bw; ++c) {
      double value = NAN;
      if (r < b.rows && c < b.cols) {
        value = m.dtype == DType::kF64
                    ? score<double>(element(m, b.row + r, b.col + c), config.norm)
                    : score<float>(element(m, b.row + r, b.col + c), config.norm);
      }
      cells.push_back({value, r, c});
    }
  }
  std::stable_sort(cells.begin(), cells.end(),
                   [](const Cell& x, const Cell& y) { return is_less(x.score, y.score); });
  const size_t zeros = config.zeros_per_block.value_or(bh * bw);
  for (size_t i = 0; i < zeros; ++i) {
    if (cells[i].row >= b.rows || cells[i].col >= b.cols) continue;
    mask[(b.row + cells[i].row) * m.shape.cols + b.col + cells[i].col] = 0;
  }
}

/// Returns the masks of all matrices under one budget.
inline std::vector<std::vector<uint8_t>> masks(const std::vector<MatrixView>& matrices,
                                               const DataNormConfig& config) {
  std::vector<std::vector<uint8_t>> result;
  std::vector<Block> blocks;
  for (size_t i = 0; i < matrices.size(); ++i) {
    result.emplace_back(matrices[i].numel(), 1);
    const std::vector<Block> own = blocks_of(matrices[i], i, config);
    blocks.insert(blocks.end(), own.begin(), own.end());
  }
  const double wanted = round_half_even(config.sparsity_level * static_cast<double>(blocks.size()));
  const auto drop =
      static_cast<size_t>(std::clamp(wanted, 0.0, static_cast<double>(blocks.size())));
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return is_less(a.mean, b.mean); });
  for (size_t i = 0; i < drop; ++i) {
    drop_in_block(matrices[blocks[i].matrix], blocks[i], config, result[blocks[i].matrix]);
  }
  return result;
}

}  // namespace winnow::reference
