// Random tensors of every layout, and what their masks are by the reference.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "support/reference_mask.h"
#include "winnow/core/data_norm.h"

namespace winnow::testing {

inline constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16};

inline DType core_type(at::ScalarType type) {
  if (type == at::kHalf) return DType::kF16;
  if (type == at::kBFloat16) return DType::kBF16;
  return type == at::kDouble ? DType::kF64 : DType::kF32;
}

/// Rank 0 to 5, sides of 0 and 1 among them, at most some thousand values.
inline std::vector<int64_t> random_sizes(std::mt19937_64& random) {
  std::vector<int64_t> sizes(random() % 6);
  int64_t room = 3000;
  for (int64_t& size : sizes) {
    const auto most = static_cast<uint64_t>(std::min<int64_t>(room, 60));
    size = random() % 4 == 0 ? 1 : 1 + static_cast<int64_t>(random() % most);
    room = std::max<int64_t>(1, room / size);
  }
  if (!sizes.empty() && random() % 25 == 0) sizes[random() % sizes.size()] = 0;
  std::shuffle(sizes.begin(), sizes.end(), random);
  return sizes;
}

/// Contiguous: normal values, few levels with both zeros, all equal, or many NaN and infinities.
inline at::Tensor random_values(at::IntArrayRef sizes, at::ScalarType type,
                                std::mt19937_64& random) {
  at::manual_seed(random());
  at::Tensor values = at::randn(sizes, at::kDouble);
  switch (random() % 5) {
    case 0:
      values = (values * 2).round();
      break;
    case 1:
      values.fill_(-2.5);
      break;
    case 2: {
      const at::Tensor kind = at::randint(0, 8, sizes, at::kLong);
      values.masked_fill_(kind == 0, NAN).masked_fill_(kind == 1, INFINITY);
      values.masked_fill_(kind == 2, -INFINITY).masked_fill_(kind == 3, -0.0);
      break;
    }
    default:
      break;
  }
  return values.to(type);
}

/// A tensor of the values of `values` (of one slice, where it is expanded) in another layout.
inline at::Tensor random_layout(const at::Tensor& values, std::mt19937_64& random) {
  const int64_t rank = values.dim();
  if (rank == 0) return random() % 2 == 0 ? values : at::stack({values, values}).select(0, 1);
  const auto dim = static_cast<int64_t>(random() % static_cast<uint64_t>(rank));
  switch (random() % 6) {
    case 0:  // memory in another order of dimensions
      return values.transpose(dim, rank - 1).contiguous().transpose(dim, rank - 1);
    case 1:  // rows with room between them, or a step
      return at::cat({values, values}, dim).narrow(dim, values.size(dim) / 2, values.size(dim));
    case 2:
      return at::repeat_interleave(values, 2, dim).slice(dim, 0, 2 * values.size(dim), 2);
    case 3:  // one slice many times
      if (values.size(dim) == 0) return values;
      return values.narrow(dim, 0, 1).expand(values.sizes());
    case 4:  // the imaginary part of a conjugate: stride 2 and a lazy minus
      if (values.scalar_type() != at::kFloat) return values;
      return at::imag(at::complex(values, values.neg()).conj());
    default:
      return values;
  }
}

inline DataNormConfig random_config(std::mt19937_64& random) {
  const BlockShape blocks[] = {{1, 1}, {1, 4}, {1, 2}, {4, 1},  {2, 2},  {3, 5},
                               {8, 8}, {1, 7}, {7, 9}, {2, 70}, {70, 2}, {1, 100}};
  const double levels[] = {0.1, 0.3, 0.5, 0.75, 0.9, 1.0, 0.0, -0.5, 2.0};
  DataNormConfig config;
  config.sparse_block_shape = blocks[random() % std::size(blocks)];
  config.sparsity_level = levels[random() % std::size(levels)];
  config.norm = random() % 2 == 0 ? Norm::kL1 : Norm::kL2;
  const uint64_t size = config.sparse_block_shape.rows * config.sparse_block_shape.cols;
  if (random() % 2 == 0) config.zeros_per_block = random() % (size + 1);
  return config;
}

inline at::Tensor random_tensor(std::mt19937_64& random) {
  const at::ScalarType type = kTypes[random() % std::size(kTypes)];
  return random_layout(random_values(random_sizes(random), type, random), random);
}

inline std::string describe(const at::Tensor& data, const DataNormConfig& config) {
  return c10::str(data.scalar_type(), data.sizes(), " strides ", data.strides(), " block ",
                  config.sparse_block_shape.rows, "x", config.sparse_block_shape.cols, " level ",
                  config.sparsity_level, " norm ", static_cast<int>(config.norm), " zeros ",
                  config.zeros_per_block ? std::to_string(*config.zeros_per_block) : "all");
}

/// The masks by the reference, int8 of the data's shapes.
inline std::vector<at::Tensor> reference_masks(const std::vector<at::Tensor>& data,
                                               const DataNormConfig& config) {
  std::vector<at::Tensor> copies;
  std::vector<MatrixView> views;
  for (const at::Tensor& each : data) {
    copies.push_back(each.resolve_neg().contiguous());
    const auto sizes = copies.back().squeeze().sizes().vec();
    const auto cols = static_cast<size_t>(sizes.empty() ? 1 : sizes.back());
    const auto numel = static_cast<size_t>(each.numel());
    const MatrixShape shape = numel == 0 ? MatrixShape{} : MatrixShape{numel / cols, cols};
    views.push_back({copies.back().const_data_ptr(), core_type(each.scalar_type()), shape, cols});
  }
  std::vector<at::Tensor> masks;
  for (std::vector<uint8_t>& bytes : reference::masks(views, config)) {
    const auto numel = static_cast<int64_t>(bytes.size());
    const at::Tensor flat = at::from_blob(bytes.data(), {numel}, at::kChar).clone();
    masks.push_back(flat.view(data[masks.size()].sizes()));
  }
  return masks;
}

}  // namespace winnow::testing
