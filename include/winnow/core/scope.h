// What one sparsity level is spent on, for whoever prunes several tensors.
#pragma once

#include <cstdint>

namespace winnow {

enum class Scope : uint8_t {
  kTensor,  ///< every tensor gives its own share of blocks
  kGlobal,  ///< the lowest blocks of all tensors together fall
};

}  // namespace winnow
