// Pruning and quantizing the recommender's tables once it is trained.
#pragma once

#include <cstdint>

#include "model.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/quantization.h"
#include "winnow/torch/training/attach.h"

namespace recommender {

/// For winnow::attach_model: the tables, which are all that is pruned.
winnow::AttachOptions tables_only();

/// A copy that shares no tensor with `model`.
Recommender copy_of(const Recommender& model);

/// Applies the masks of `sparsifier`, and ends them. Dropped values are +0 then, as in a file that
/// `winnow prune` wrote; squash_mask alone leaves -0 where they were negative, and these signs have
/// to be written into a compressed file.
void squash_to_zero(winnow::BaseDataSparsifier& sparsifier);

/// A copy whose tables are pruned, each to the level of `options`.
Recommender pruned_copy(const Recommender& model, const winnow::DataNormSparsifierOptions& options);

/// A copy whose tables are pruned value by value, each to `level`, and stored in bytes.
Recommender quantized_copy(const Recommender& model, double level,
                           const winnow::PostTrainingSparseQuantizeOptions& options);

/// Share of the tables' values that are exactly zero when they are looked up.
double share_of_zeros(const Recommender& model);

/// Bytes of the tables, scales and zero points included where they are quantized.
int64_t table_bytes(const Recommender& model);

}  // namespace recommender
