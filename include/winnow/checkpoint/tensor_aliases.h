// The further names of tensors that a file stores once. safetensors' save_model writes tied weights
// under one name, and notes each other name in the metadata: {"lm_head.weight": "emb.weight"}.
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

/// A further name of a tensor. What has that name may be a part of the tensor only: save_model
/// writes views of a part of another tensor in the same way. Its shape is then unknown.
struct TensorAlias {
  std::string_view name;  ///< a key of the metadata; valid while they are
  size_t tensor = 0;      ///< index of the tensor that holds its values
};

/// The entries of `metadata` whose value is the name of one of `tensors` and whose key is none, in
/// their order. All others ("format", an alias of an alias) are not aliases. Thread-safe.
/// Time: that of sorting the names, and of a search among them for each entry.
std::vector<TensorAlias> tensor_aliases(std::span<const TensorInfo> tensors,
                                        const Metadata& metadata);

}  // namespace winnow
