// How a caller lends threads to the library, which starts none of its own.
#pragma once

#include <cstddef>
#include <functional>

namespace winnow {

/// Runs independent tasks. The tool passes oneTBB, the torch layer at::parallel_for, tests fakes.
/// No result of the library depends on the number of threads or on the order of the tasks.
class ParallelFor {
 public:
  virtual ~ParallelFor() = default;

  /// Calls task(0), ..., task(count - 1), each exactly once, on any threads and in any order, and
  /// returns when all have returned. Tasks must not throw, and must not call `run` again.
  virtual void run(size_t count, const std::function<void(size_t)>& task) = 0;

  /// Returns how many tasks may run at the same time; at least 1.
  virtual size_t concurrency() const noexcept = 0;
};

/// Runs the tasks one after the other on the calling thread. Stateless, safe to share.
class SerialFor final : public ParallelFor {
 public:
  /// Calls task(0), ..., task(count - 1) in this order.
  void run(size_t count, const std::function<void(size_t)>& task) override {
    for (size_t i = 0; i < count; ++i) task(i);
  }

  /// Returns 1.
  size_t concurrency() const noexcept override { return 1; }
};

}  // namespace winnow
