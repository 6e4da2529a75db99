// Private: figures that are taken of every chunk, in one pass over its bits.
#pragma once

#include <cstdint>

#include "winnow/base/dtype.h"

namespace winnow::checkpoint {

/// Figures of a chunk.
struct ValueScan {
  uint64_t zeros = 0;  ///< of both signs
  bool any_nan = false;
};

/// Scans `count` values at any alignment. Precondition: is_prunable(dtype).
ValueScan scan_values(const void* values, DType dtype, uint64_t count) noexcept;

}  // namespace winnow::checkpoint
