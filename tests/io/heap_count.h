// What the heap holds. The source next to this header replaces operator new and delete to count it,
// in the one program that it is part of.
#pragma once

#include <cstddef>

namespace winnow::testing {

/// Bytes that operator new gave out and that were not given back, as large as malloc made them.
size_t live_heap_bytes() noexcept;

/// The most of them since the last reset.
size_t peak_heap_bytes() noexcept;
void reset_heap_peak() noexcept;

}  // namespace winnow::testing
