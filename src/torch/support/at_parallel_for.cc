// The one file that instantiates at::parallel_for: it runs on one thread, silently, wherever it is
// compiled without OpenMP.
#include "torch/support/at_parallel_for.h"

#include <ATen/Parallel.h>

#ifndef _OPENMP
#error "compile this file with OpenMP, or at::parallel_for is serial"
#endif

namespace winnow::internal {

void AtParallelFor::run(size_t count, const std::function<void(size_t)>& task) {
  // A grain of 1: our tasks are large, LibTorch's default is for single elements.
  at::parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(static_cast<size_t>(i));
  });
}

size_t AtParallelFor::concurrency() const noexcept {
  // As many tasks as would really run at once.
  return at::in_parallel_region() ? 1 : static_cast<size_t>(at::get_num_threads());
}

}  // namespace winnow::internal
