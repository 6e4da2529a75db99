// Private: what a torch archive holds, by the path to it: keys of dicts and places in lists, joined
// by dots, as in "optimizer.state.0.exp_avg".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/io/torch_archive.h"

namespace winnow::checkpoint {

/// A place where a tensor stands.
struct TorchPath {
  std::string name;
  const TorchTensor* tensor = nullptr;  ///< of the archive's tree
  bool is_optimizer_state = false;      ///< under a key that says so, such as "optimizer_states"
};

struct TorchPaths {
  std::vector<TorchPath> tensors;  ///< in the order of the tree; a shared one at each of its places
  std::vector<OpaqueValue> opaque;
  uint64_t plain_values = 0;
  /// By storage of the archive: whether what is not among `tensors` refers to it.
  std::vector<bool> opaque_uses;
};

/// Walks the tree. A tensor at the root is called "tensor". Errors: kTensorName for two tensors of
/// one name, and for one that is longer than a safetensors file allows; kPickleTooLarge for paths
/// of more than 256 MiB in all.
Result<TorchPaths> list_paths(const TorchArchive& archive);

}  // namespace winnow::checkpoint
