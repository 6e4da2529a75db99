// What the C functions of the benchmarks share: a clock, and what their arguments stand for.
#pragma once

#include <chrono>
#include <cstdint>

#include "two_threads.h"
#include "winnow/base/dtype.h"

namespace winnow::bench {

inline double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// 0 F32, 1 F16, 2 BF16, 3 F64.
inline DType dtype_of(int32_t code) {
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  return kTypes[code];
}

/// One thread, that of the caller, or two.
inline ParallelFor& threads_of(int32_t count) {
  static SerialFor serial;
  static TwoThreads two;
  return count == 1 ? static_cast<ParallelFor&>(serial) : two;
}

}  // namespace winnow::bench
