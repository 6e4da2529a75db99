// PRIVATE. The threads of torch.set_num_threads, through the stable ABI.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "winnow/base/parallel_for.h"

namespace winnow::python {

/// Stateless. Inside another parallel region of torch everything runs on the calling thread.
class TorchParallelFor final : public ParallelFor {
 public:
  void run(size_t count, const std::function<void(size_t)>& task) override {
    torch::stable::parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        task(static_cast<size_t>(i));
      }
    });
  }

  size_t concurrency() const noexcept override { return threads_; }

 private:
  const size_t threads_ = torch::stable::get_num_threads();
};

}  // namespace winnow::python
