// PRIVATE. Growing buffers whose memory is used again by later calls.
//
// A fresh page costs more than computing on it (measured on a virtual machine: about 1 microsecond
// for 4 KiB, a third of a 0.6-million-value mask in all), and malloc gives large blocks back to the
// system each time. So a process-wide pool keeps up to kMaxPooledBytes of them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "winnow/base/status.h"

namespace winnow::core {

/// The error of a call that ran out of memory for its scratch.
Status out_of_memory();

inline constexpr size_t kMaxPooledBytes = size_t{32} << 20;

/// Takes a block of `bytes`, a power of two, from the pool or the system. Thread-safe.
void* acquire_block(size_t bytes);

/// Gives it back, from any thread.
void release_block(void* block, size_t bytes) noexcept;

/// A vector of plain values, for scratch. Its elements are not initialised.
template <typename T>
class ScratchVector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  ScratchVector() = default;
  ScratchVector(ScratchVector&& other) noexcept { swap(other); }
  ScratchVector& operator=(ScratchVector&& other) noexcept {
    swap(other);
    return *this;
  }
  ~ScratchVector() {
    if (data_ != nullptr) release_block(data_, capacity_ * sizeof(T));
  }

  size_t size() const noexcept { return size_; }
  T* data() noexcept { return data_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }
  const T& operator[](size_t i) const noexcept { return data_[i]; }
  operator std::span<const T>() const noexcept { return {data_, size_}; }  // NOLINT: as std::vector

  /// Room for `count` elements past the end, to be written there and then taken in by `grow`.
  T* room(size_t count) {
    if (size_ + count > capacity_) enlarge(size_ + count);
    return data_ + size_;
  }
  void grow(size_t count) noexcept { size_ += count; }

  void append(std::span<const T> values) {
    std::copy(values.begin(), values.end(), room(values.size()));
    grow(values.size());
  }

 private:
  void swap(ScratchVector& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  void enlarge(size_t wanted) {
    constexpr size_t kSmallest = 4096 / sizeof(T);
    const size_t capacity = std::bit_ceil(std::max(wanted, kSmallest));
    T* data = static_cast<T*>(acquire_block(capacity * sizeof(T)));
    std::copy(data_, data_ + size_, data);
    if (data_ != nullptr) release_block(data_, capacity_ * sizeof(T));
    data_ = data;
    capacity_ = capacity;
  }

  T* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace winnow::core
