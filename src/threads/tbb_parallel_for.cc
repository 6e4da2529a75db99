#include "threads/tbb_parallel_for.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

namespace winnow {

// The control lets -j ask for more threads than there are cores.
struct TbbParallelFor::Arena {
  explicit Arena(size_t threads)
      : control(tbb::global_control::max_allowed_parallelism, threads),
        arena(static_cast<int>(threads)) {}

  tbb::global_control control;
  tbb::task_arena arena;
};

size_t usable_cores() { return static_cast<size_t>(tbb::info::default_concurrency()); }

TbbParallelFor::TbbParallelFor(size_t threads)
    : threads_(threads), arena_(threads > 1 ? std::make_unique<Arena>(threads) : nullptr) {}

TbbParallelFor::~TbbParallelFor() = default;

void TbbParallelFor::run(size_t count, const std::function<void(size_t)>& task) {
  if (!arena_ || count < 2) {
    for (size_t i = 0; i < count; ++i) task(i);
    return;
  }
  arena_->arena.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<size_t>(0, count, 1),
        [&](const tbb::blocked_range<size_t>& range) {
          for (size_t i = range.begin(); i != range.end(); ++i) task(i);
        },
        tbb::simple_partitioner());
  });
}

size_t TbbParallelFor::concurrency() const noexcept { return threads_; }

}  // namespace winnow
