// Prunes and quantizes the recommender's tables after training.
#pragma once

#include <cstdint>

#include "model.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/quantization.h"
#include "winnow/torch/training/attach.h"

namespace recommender {

/// A filter for winnow::attach_model: only the tables are pruned.
winnow::AttachOptions tables_only();

/// A copy that shares no tensor with `model`.
Recommender copy_of(const Recommender& model);

/// Applies the masks of `sparsifier` and removes them. Dropped values are then +0, as in a file
/// from `winnow prune`. squash_mask alone leaves -0 for negative values, and those signs would make
/// a compressed file larger.
void squash_to_zero(winnow::BaseDataSparsifier& sparsifier);

/// A copy whose tables are pruned, each to the level of `options`.
Recommender pruned_copy(const Recommender& model, const winnow::DataNormSparsifierOptions& options);

/// A copy whose tables are pruned value by value, each to `level`, and stored in bytes.
Recommender quantized_copy(const Recommender& model, double level,
                           const winnow::PostTrainingSparseQuantizeOptions& options);

/// Share of the tables' values that are exactly zero in a lookup.
double share_of_zeros(const Recommender& model);

/// Bytes of the tables, including scales and zero points if they are quantized.
int64_t table_bytes(const Recommender& model);

}  // namespace recommender
