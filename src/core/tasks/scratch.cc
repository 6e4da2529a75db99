#include "core/tasks/scratch.h"

#include <array>
#include <bit>
#include <mutex>
#include <new>

namespace winnow::core {
namespace {

// A free block holds the link to the next one, so that giving one back needs no memory.
struct FreeBlock {
  FreeBlock* next;
};

struct Pool {
  std::mutex mutex;
  std::array<FreeBlock*, 64> free{};  // by the logarithm of their size
  size_t pooled_bytes = 0;
};

// Never destroyed: a thread may still return a block while the process ends.
Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

FreeBlock*& free_list(Pool& p, size_t bytes) noexcept {
  return p.free[static_cast<size_t>(std::countr_zero(bytes))];
}

}  // namespace

void* acquire_block(size_t bytes) {
  Pool& p = pool();
  {
    const std::scoped_lock lock(p.mutex);
    FreeBlock*& first = free_list(p, bytes);
    if (first != nullptr) {
      void* block = first;
      first = first->next;
      p.pooled_bytes -= bytes;
      return block;
    }
  }
  return ::operator new(bytes);  // outside of the lock: it may take a system call
}

void release_block(void* block, size_t bytes) noexcept {
  Pool& p = pool();
  {
    const std::scoped_lock lock(p.mutex);
    if (p.pooled_bytes + bytes <= kMaxPooledBytes) {
      FreeBlock*& first = free_list(p, bytes);
      first = new (block) FreeBlock{first};
      p.pooled_bytes += bytes;
      return;
    }
  }
  ::operator delete(block);
}

Status out_of_memory() {
  return {ErrorCode::kOutOfMemory, "not enough memory for the scratch of a selection"};
}

}  // namespace winnow::core
