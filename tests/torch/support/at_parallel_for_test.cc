#include "torch/support/at_parallel_for.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace winnow {
using namespace internal;

namespace {

class AtParallelForTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(2); }
};

TEST_F(AtParallelForTest, CallsEveryTaskOnce) {
  std::vector<std::atomic<int>> calls(1000);
  AtParallelFor().run(calls.size(), [&](size_t i) { ++calls[i]; });
  for (const auto& count : calls) EXPECT_EQ(count.load(), 1);
  AtParallelFor().run(0, [](size_t) { FAIL(); });
}

// Compiled without OpenMP, at::parallel_for runs on one thread and says nothing.
TEST_F(AtParallelForTest, RunsTwoTasksAtTheSameTime) {
  std::atomic<int> waiting{0};
  std::atomic<bool> met{true};
  AtParallelFor().run(2, [&](size_t) {
    ++waiting;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (waiting.load() < 2 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    if (waiting.load() < 2) met = false;
  });
  EXPECT_TRUE(met.load());
  EXPECT_EQ(AtParallelFor().concurrency(), 2u);
}

TEST_F(AtParallelForTest, IsSerialInsideAnotherParallelRegion) {
  std::atomic<int> calls{0};
  AtParallelFor().run(2, [&](size_t) {
    EXPECT_EQ(AtParallelFor().concurrency(), 1u);
    AtParallelFor().run(3, [&](size_t) { ++calls; });
  });
  EXPECT_EQ(calls.load(), 6);
}

}  // namespace
}  // namespace winnow
