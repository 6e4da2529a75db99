// Pruning the recommender's tables after training.
#pragma once

#include <cstdint>

#include "model.h"
#include "winnow/torch/data_norm_sparsifier.h"

namespace recommender {

/// Adds the tables to `sparsifier`, each under the name of its parameter with '_' for '.'.
void add_tables(const Recommender& model, winnow::BaseDataSparsifier& sparsifier);

/// A copy that shares no tensor with `model`.
Recommender copy_of(const Recommender& model);

/// Applies the masks of a sparsifier that add_tables filled, and ends them. Dropped values are +0,
/// as in a file that `winnow prune` wrote; squash_mask alone leaves -0 where they were negative,
/// which costs a bit of each in a compressed file.
void squash_to_zero(winnow::BaseDataSparsifier& sparsifier);

/// A copy whose tables were pruned, each to the level of `options`.
Recommender pruned_copy(const Recommender& model, const winnow::DataNormSparsifierOptions& options);

/// Share of the tables' values that are exactly zero.
double share_of_zeros(const Recommender& model);

/// Bytes of the tables' values.
int64_t table_bytes(const Recommender& model);

}  // namespace recommender
