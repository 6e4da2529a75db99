// A ParallelFor for tests, with real threads. The order of tasks varies from call to call.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "winnow/base/parallel_for.h"

namespace winnow::testing {

class ThreadsFor final : public ParallelFor {
 public:
  explicit ThreadsFor(size_t threads) : threads_(threads) {}

  void run(size_t count, const std::function<void(size_t)>& task) override {
    std::atomic<size_t> next{0};
    std::vector<std::thread> workers;
    for (size_t w = 0; w < threads_; ++w) {
      workers.emplace_back([&] {
        // Start with the last task: nothing may depend on the order.
        for (size_t i = next++; i < count; i = next++) task(count - 1 - i);
      });
    }
    for (std::thread& worker : workers) worker.join();
  }
  size_t concurrency() const noexcept override { return threads_; }

 private:
  size_t threads_;
};

}  // namespace winnow::testing
