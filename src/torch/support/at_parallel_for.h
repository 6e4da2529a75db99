// PRIVATE. The threads of the torch layer, which are those of at::parallel_for.
#pragma once

#include "winnow/base/parallel_for.h"

namespace winnow::internal {

/// Lends the threads of at::set_num_threads. Inside another parallel region of LibTorch everything
/// runs on the calling thread, as nested at::parallel_for does. Stateless.
class AtParallelFor final : public ParallelFor {
 public:
  void run(size_t count, const std::function<void(size_t)>& task) override;
  size_t concurrency() const noexcept override;
};

}  // namespace winnow::internal
