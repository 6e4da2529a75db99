// Private: what is asked of every chunk that passes by, in one look at its bits.
#pragma once

#include <cstdint>

#include "winnow/base/dtype.h"

namespace winnow {

/// Figures of a chunk.
struct ValueScan {
  uint64_t zeros = 0;  ///< of both signs
  bool any_nan = false;
};

/// Looks at `count` values at any alignment. Precondition: is_prunable(dtype).
ValueScan scan_values(const void* values, DType dtype, uint64_t count) noexcept;

}  // namespace winnow
