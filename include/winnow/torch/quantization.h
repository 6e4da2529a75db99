// Prunes the embeddings of a trained model and turns them into tables of bytes, in one call.
//
//   winnow::post_training_sparse_quantize(*model, {.sparsity_level = 0.8,
//                                                  .sparse_block_shape = {1, 1}});
//   model->forward(indices);                       // as before, from one byte a value
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

namespace torch::nn {
class Module;
}

namespace winnow {

struct PostTrainingSparseQuantizeOptions {
  /// Whether values are pruned as they are and then quantized, or quantized first: then those fall
  /// that are small once rounded, and a row keeps the scale of its dense values.
  bool sparsify_first = true;
  /// The embeddings to convert, in this order; unset: all below the model. They are modules or
  /// holders, as Data takes them; one that is listed twice is converted once; none are none.
  std::optional<std::vector<Data>> select_embeddings = std::nullopt;
  /// kExact: all that is pruned is exactly 0 in the tables and in lookups, in either order.
  /// kUpstream: scales, zero points and codes are torch.ao's, bit for bit, but for ties (ours fall
  /// by index) and the sign of a zero point of 0.
  nn::ZeroPolicy zero_policy = nn::ZeroPolicy::kExact;
};

/// Makes the sparsifier that prunes: a new one without data.
using SparsifierFactory = std::function<std::unique_ptr<BaseDataSparsifier>()>;

/// Prunes the weights of embeddings and embedding bags by one step of the sparsifier and quantizes
/// them. A winnow::nn::Embedding or EmbeddingBag is converted in place (nn/quantizable.h), wherever
/// it sits; what forward saw, a mask that it has included, is what is pruned. A
/// torch::nn::Embedding or EmbeddingBag in a Sequential, a ModuleList or a ModuleDict is replaced
/// by a quantized module of winnow::nn. Training flags stay. The float tensors are left as they
/// are: who holds one, or shares it with another module, keeps it dense.
///
/// Unset select_embeddings mean all embeddings below the model but those that are quantized
/// already. Walked are the children of a module in their order, then those of its children that are
/// no embeddings, the last one first. A class that derives from torch::nn's is not an embedding
/// here, since a replacement would lose its forward; one that derives from winnow::nn's is. A
/// module with several parents is converted once, for all of them.
///
/// The sparsifier knows each by its fully qualified name with '_' for '.'; where that is taken,
/// with the first free of `_1`, `_2` ... behind it.
///
/// Nothing is changed by a failing call: all is checked and computed first. What step or the
/// factory throws passes through. AssertionError: an element of select_embeddings is no such module
/// ("must be an embedding or embedding bags"), or no part of the model ("must be part of input
/// model"). KeyError: the model itself is an embedding to be converted: it has no name; use its
/// quantize. c10::ValueError naming the module: its quantize would refuse it (a max_norm, a name
/// that is taken, a weight of another shape than its options say); it is a typed member of
/// torch::nn (the message names the type to declare); its weight is not on the CPU, not of a
/// floating dtype, or, under kExact, not finite.
///
/// Memory, besides the tables: the masks, and the float values of one table at a time. The
/// sparsifier sees all data at once, which are the model's own weights. Where it needs others, they
/// are held until the end: the float values of all modules that are parametrized, whose reads are
/// computed; where quantization comes first, the rounded values and the codes of all modules.
///
/// Differs from torch.ao: the default zero_policy; all or nothing; a padding_idx and the mode of a
/// bag are kept; float weights are not masked; the sparsifier comes from a function.
void post_training_sparse_quantize(torch::nn::Module& model,
                                   const SparsifierFactory& make_sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options = {});

/// By a DataNormSparsifier with these options.
void post_training_sparse_quantize(torch::nn::Module& model,
                                   const DataNormSparsifierOptions& sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options = {});

}  // namespace winnow
