// Further names of tensors that a file stores once. safetensors' save_model writes tied weights
// under one name and records the other names in the metadata: {"lm_head.weight": "emb.weight"}.
//
//   for (const TensorAlias& alias : tensor_aliases(header.tensors(), header.metadata())) {
//     std::cout << alias.name << " is stored as " << header.tensors()[alias.tensor].name;
//   }
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "winnow/io/safetensors.h"

namespace winnow {

/// A further name of a tensor. It may name only a part of the tensor, with an unknown shape,
/// because save_model writes a view of another tensor in the same way.
struct TensorAlias {
  std::string_view name;  ///< a key of the metadata; valid as long as the metadata
  size_t tensor = 0;      ///< index of the tensor that holds its values
};

/// Returns the aliases in `metadata`, in its order: the entries whose value is the name of one of
/// `tensors` and whose key is not. Other entries ("format", an alias of an alias) are ignored.
/// Thread-safe. Sorts the names once and does one binary search for each entry.
std::vector<TensorAlias> tensor_aliases(std::span<const TensorInfo> tensors,
                                        const Metadata& metadata);

}  // namespace winnow
