// Memory between two inaccessible pages: a read or write beyond either end crashes the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace winnow::testing {

class GuardedBuffer {
 public:
  enum class Flush { kStart, kEnd };  // which end of the bytes touches a guard page

  GuardedBuffer(size_t bytes, Flush flush) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    void* map = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) std::abort();
    map_ = static_cast<unsigned char*>(map);
    if (inner > 0 && mprotect(map_ + page, inner, PROT_READ | PROT_WRITE) != 0) std::abort();
    data_ = map_ + page + (flush == Flush::kEnd ? inner - bytes : 0);
  }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() { munmap(map_, mapped_); }

  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(data_);
  }

 private:
  unsigned char* map_;
  unsigned char* data_;
  size_t mapped_;
};

}  // namespace winnow::testing
