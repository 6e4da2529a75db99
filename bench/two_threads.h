// Two threads that stay ready between calls, as the pools of oneTBB and at::parallel_for do.
#pragma once

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "winnow/base/parallel_for.h"

namespace winnow::bench {

class TwoThreads final : public ParallelFor {
 public:
  void run(size_t count, const std::function<void(size_t)>& task) override {
    arena_.execute([&] { tbb::parallel_for(size_t{0}, count, task); });
  }
  size_t concurrency() const noexcept override { return 2; }

 private:
  tbb::task_arena arena_{2};
};

}  // namespace winnow::bench
