// Private: the threads of the tool and of the Python package, oneTBB behind the library's
// interface.
#pragma once

#include <memory>

#include "winnow/base/parallel_for.h"

namespace winnow {

/// How many threads this process may run on.
size_t usable_cores();

/// Runs tasks on `threads` threads, the calling one among them. With one thread none is started.
class TbbParallelFor final : public ParallelFor {
 public:
  explicit TbbParallelFor(size_t threads);
  ~TbbParallelFor() override;

  void run(size_t count, const std::function<void(size_t)>& task) override;
  size_t concurrency() const noexcept override;

 private:
  struct Arena;
  size_t threads_;
  std::unique_ptr<Arena> arena_;  // none with one thread
};

}  // namespace winnow
