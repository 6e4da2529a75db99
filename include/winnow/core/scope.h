// Whether a sparsity level applies to each of several tensors or to all of them together.
#pragma once

#include <cstdint>

namespace winnow {

/// The blocks that a sparsity level is a share of.
enum class Scope : uint8_t {
  kTensor,  ///< the blocks of each tensor: every tensor is pruned to the level
  kGlobal,  ///< the blocks of all tensors together: the lowest of them are dropped
};

}  // namespace winnow
