// PRIVATE. The state of LibTorch's default generator of the CPU.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

namespace winnow::internal {

inline at::Tensor random_state() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

inline void set_random_state(const at::Tensor& state) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace winnow::internal
