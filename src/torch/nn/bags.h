// PRIVATE. Checks the arguments of an embedding bag and converts them to one form. Independent of
// the table.
#pragma once

#include <torch/nn/options/embedding.h>

namespace winnow::nn {

/// Bags of indices.
struct Bags {
  at::Tensor indices;             ///< flat, Long or Int
  at::Tensor bounds;              ///< [bags + 1], the starts and the last end; same dtype
  at::Tensor per_sample_weights;  ///< flat, or undefined
};

/// Throws c10::Error for indices that are not Long or Int, c10::ValueError if they are not on the
/// CPU, c10::IndexError if one is not in [0, rows).
void check_indices(const at::Tensor& indices, int64_t rows);

/// Returns the bags of `input`, without the indices that equal padding_idx. With
/// include_last_offset, indices after the last offset belong to no bag; LibTorch uses some of them
/// in some modes. Throws the exceptions of LibTorch's float bag, and also if offsets decrease or an
/// index is out of range (c10::IndexError), where LibTorch throws nothing or c10::Error.
///
/// @param rows number of rows of the table
Bags make_bags(const at::Tensor& input, const at::Tensor& offsets,
               const at::Tensor& per_sample_weights, const torch::nn::EmbeddingBagOptions& options,
               int64_t rows);

}  // namespace winnow::nn
