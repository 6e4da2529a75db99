#include "io/heap_count.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> live_bytes = 0;
std::atomic<size_t> peak_bytes = 0;

void* counted_allocation(size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  live_bytes += ::malloc_usable_size(memory);
  if (live_bytes > peak_bytes) peak_bytes = live_bytes.load();
  return memory;
}

void counted_release(void* memory) noexcept {
  live_bytes -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t bytes) { return counted_allocation(bytes); }
void operator delete(void* memory) noexcept { counted_release(memory); }
void operator delete(void* memory, size_t) noexcept { counted_release(memory); }

namespace winnow::testing {

size_t live_heap_bytes() noexcept { return live_bytes; }
size_t peak_heap_bytes() noexcept { return peak_bytes; }
void reset_heap_peak() noexcept { peak_bytes = live_bytes.load(); }

}  // namespace winnow::testing
