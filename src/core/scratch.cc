#include "core/scratch.h"

#include <array>
#include <mutex>
#include <new>
#include <vector>

namespace winnow::core {
namespace {

struct Pool {
  std::mutex mutex;
  std::array<std::vector<void*>, 64> free;  // by the logarithm of their size
  size_t pooled_bytes = 0;
};

// Never destroyed: a thread may still return a block while the process ends.
Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

}  // namespace

void* acquire_block(size_t bytes) {
  Pool& p = pool();
  {
    const std::scoped_lock lock(p.mutex);
    std::vector<void*>& free = p.free[static_cast<size_t>(std::countr_zero(bytes))];
    if (!free.empty()) {
      void* block = free.back();
      free.pop_back();
      p.pooled_bytes -= bytes;
      return block;
    }
  }
  return ::operator new(bytes);
}

void release_block(void* block, size_t bytes) noexcept {
  Pool& p = pool();
  {
    const std::scoped_lock lock(p.mutex);
    if (p.pooled_bytes + bytes <= kMaxPooledBytes) {
      p.free[static_cast<size_t>(std::countr_zero(bytes))].push_back(block);
      p.pooled_bytes += bytes;
      return;
    }
  }
  ::operator delete(block);
}

}  // namespace winnow::core
