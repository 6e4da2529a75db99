// The memory floor of a mask: reads each F32 value once and writes one byte a value, with a
// threshold that is known beforehand. No exact algorithm can be faster than this.
#pragma once

#include <cstddef>
#include <cstdint>

namespace winnow::bench {

/// mask[i] = |values[i]| >= 0.6745, the median of normal data. `streaming` writes around the
/// caches.
void floor(const float* values, size_t count, uint8_t* mask, bool streaming);

}  // namespace winnow::bench
