// Prunes the embeddings of a trained model and quantizes them to int8 tables, in one call.
//
//   winnow::post_training_sparse_quantize(*model, {.sparsity_level = 0.8,
//                                                  .sparse_block_shape = {1, 1}});
//   model->forward(indices);                       // as before, from one byte for each value
//
// Source: torch.ao.pruning post_training_sparse_quantize. Thread-safety: needs exclusive access to
// the model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/nn/quantized_weight.h"

namespace winnow {

/// Options of post_training_sparse_quantize.
struct PostTrainingSparseQuantizeOptions {
  /// If true, values are pruned and then quantized. If false, they are quantized first: the values
  /// that are pruned are those that are small after rounding, and a row keeps the scale of its
  /// dense values.
  bool sparsify_first = true;
  /// The embeddings to convert, in this order: modules or holders, as Data accepts them. A
  /// duplicate is converted once; an empty list converts nothing. If unset, all embeddings below
  /// the model.
  std::optional<std::vector<Data>> select_embeddings = std::nullopt;
  /// kExact: pruned values are exactly 0 in the tables and in lookups, in either order. kUpstream:
  /// scales, zero points and codes equal torch.ao's bit for bit, except for ties (ours are broken
  /// by index) and the sign of a zero point of 0.
  nn::ZeroPolicy zero_policy = nn::ZeroPolicy::kExact;
};

/// Returns a new sparsifier without data.
using SparsifierFactory = std::function<std::unique_ptr<BaseDataSparsifier>()>;

/// Prunes the weights of embeddings and embedding bags by one step of the sparsifier and quantizes
/// them. A winnow::nn::Embedding or EmbeddingBag is converted in place (nn/quantizable.h), wherever
/// it is used; the weight as seen by forward, including any mask, is what is pruned. A
/// torch::nn::Embedding or EmbeddingBag in a Sequential, ModuleList or ModuleDict is replaced by a
/// quantized module of winnow::nn. Training flags are kept. The float tensors are not changed:
/// whoever holds one, or shares it with another module, still has dense values.
///
/// If select_embeddings is unset, all embeddings below the model are converted except those that
/// are quantized already. The order is: the children of a module in their order, then the children
/// of each child that is not an embedding, starting with the last. A class derived from torch::nn's
/// is not converted, because a replacement would lose its forward; a class derived from
/// winnow::nn's is. A module with several parents is converted once, for all of them.
///
/// In the sparsifier, each embedding has its fully qualified name with '_' for '.'; if that is
/// taken, the first free suffix of `_1`, `_2`, ... is added.
///
/// A failing call changes nothing, because everything is checked and computed first. Exceptions of
/// step and of the factory pass through. Throws AssertionError if an element of select_embeddings
/// is not such a module ("must be an embedding or embedding bags") or not part of the model ("must
/// be part of input model"). Throws KeyError if the model itself is an embedding to be converted,
/// since it has no name; call its quantize instead. Throws c10::ValueError, naming the module, if
/// its quantize would fail (a max_norm, a name that is taken, a weight whose shape differs from the
/// options); if it is a typed member of torch::nn (the message names the type to declare); or if
/// its weight is not on the CPU, not of a floating dtype or, under kExact, not finite.
///
/// Memory, besides the tables: the masks, and the float values of one table at a time. The
/// sparsifier works on the model's own weights. If it needs other values, they are held until the
/// end: the float reads of all parametrized modules and, if quantization comes first, the rounded
/// values and the codes of all modules.
///
/// Differs from torch.ao: the default zero_policy; a failing call changes nothing; padding_idx and
/// the mode of a bag are kept; float weights are not masked; the sparsifier comes from a function.
void post_training_sparse_quantize(torch::nn::Module& model,
                                   const SparsifierFactory& make_sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options = {});

/// Does the same with a DataNormSparsifier with these options.
void post_training_sparse_quantize(torch::nn::Module& model,
                                   const DataNormSparsifierOptions& sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options = {});

}  // namespace winnow
