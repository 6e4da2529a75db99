// Private: the memory that a call may take, and how it is shared out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/prune_plan.h"

namespace winnow::checkpoint {

/// What a call needs, in bytes.
struct MemoryNeeds {
  uint64_t fixed = 0;        ///< whatever it does: see fixed_bytes
  uint64_t each_thread = 0;  ///< buffers of a thread
  uint64_t values = 0;       ///< at least, for the tensor at hand
};

/// What each part of a call may take. Masks and files do not depend on it.
struct MemoryShares {
  uint64_t values = 0;  ///< bytes for the tensor at hand: values, mask and selection
  uint64_t whole = 0;   ///< a tensor that needs no more than this is held whole
  uint64_t piece = 0;   ///< values of a piece of the others; one block may be more
  size_t threads = 1;   ///< that have buffers at a time

  /// For the candidates of a selection.
  uint64_t selection() const noexcept;
};

/// Memory of the program, the header, the plan and the reports.
uint64_t fixed_bytes(const CheckpointReader& file) noexcept;

/// Bytes of a thread that reads the file, or writes a compressed one of its tensors.
uint64_t thread_bytes_to_read(const CheckpointReader& file) noexcept;
uint64_t thread_bytes_to_compress(const CheckpointReader& file) noexcept;

/// Shares out `max_memory` bytes. As many threads as `concurrency` have buffers, unless that would
/// be more than half of what is left to them and the values.
/// Error: kInvalidArgument if it is too little, with the least that works.
Result<MemoryShares> share_memory(uint64_t max_memory, const MemoryNeeds& needs,
                                  size_t concurrency);

/// How a tensor is held. Sizes are in bytes.
struct TensorMemory {
  uint64_t whole;    ///< if at once
  uint64_t block;    ///< values of one block
  uint64_t row;      ///< of one row of blocks
  uint64_t strip;    ///< the mask bits of one row of blocks that is read in parts; 0: not needed
  uint64_t besides;  ///< what pieces take besides values and masks

  TensorMemory(const TensorInfo& tensor, const PlanEntry& entry);

  /// The least share of the values that this tensor gets along with.
  uint64_t least(Scope scope) const noexcept;
  /// The size of its pieces. Precondition: shares.values >= least(its scope).
  uint64_t piece(const MemoryShares& shares) const noexcept;
};

/// What the values of a plan need at least.
uint64_t least_values_bytes(std::span<const TensorInfo> tensors, std::span<const PlanEntry> plan,
                            Scope scope) noexcept;

/// Threads of another ParallelFor, but never more than a few at a time. Not thread-safe.
class FewerThreads final : public ParallelFor {
 public:
  FewerThreads(ParallelFor& threads, size_t most) : threads_(threads), most_(most) {}

  void run(size_t count, const std::function<void(size_t)>& task) override {
    const size_t slots = std::min(count, concurrency());
    if (slots == threads_.concurrency()) return threads_.run(count, task);
    threads_.run(slots, [&](size_t slot) {
      for (size_t i = slot; i < count; i += slots) task(i);
    });
  }
  size_t concurrency() const noexcept override { return std::min(most_, threads_.concurrency()); }

 private:
  ParallelFor& threads_;
  size_t most_;
};

}  // namespace winnow::checkpoint
