// PRIVATE. The arguments of an embedding bag, checked and written in one way. Knows no table.
#pragma once

#include <ATen/core/Tensor.h>

namespace torch::nn {
struct EmbeddingBagOptions;
}

namespace winnow::nn {

/// Bags of indices.
struct Bags {
  at::Tensor indices;             ///< flat, Long or Int
  at::Tensor bounds;              ///< [bags + 1], where each starts and the last ends; that dtype
  at::Tensor per_sample_weights;  ///< flat, or undefined
};

/// c10::Error for indices that are no Long or Int, c10::ValueError where they are not on the CPU,
/// c10::IndexError where one is not in [0, rows).
void check_indices(const at::Tensor& indices, int64_t rows);

/// The bags of `input`, without the indices that equal padding_idx. With include_last_offset,
/// indices behind the last offset are in no bag; LibTorch takes some for some modes. Throws where
/// LibTorch's bag of floats throws, the same kinds, and also where offsets decrease or an index is
/// at fault (c10::IndexError), which LibTorch does not or only as c10::Error.
/// @param rows of the table
Bags make_bags(const at::Tensor& input, const at::Tensor& offsets,
               const at::Tensor& per_sample_weights, const torch::nn::EmbeddingBagOptions& options,
               int64_t rows);

}  // namespace winnow::nn
