// PRIVATE. Masks of matrices that are all in memory, under one budget.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "core/masks/mask_writer.h"
#include "core/selection/near_keys.h"
#include "core/selection/threshold_search.h"
#include "core/tasks/scratch.h"
#include "core/tasks/tasks.h"
#include "core/views/block_matrix.h"
#include "winnow/base/parallel_for.h"
#include "winnow/core/mask.h"

namespace winnow::core {

/// Shows `search` the lines of its plan that begin in [begin, end) of all keys, which are the
/// blocks of `matrix`.
template <typename Key>
void sample_matrix(const BlockMatrix& matrix, uint64_t begin, uint64_t end,
                   ThresholdSearch<Key>& search);

/// One use: construct, then run(). Keys are 32 bits unless some matrix is F64.
template <typename Key>
class MaskJob {
 public:
  MaskJob(std::span<const BlockMatrix> matrices, std::span<const MaskTarget> targets,
          const kernels::KernelTable& table, ParallelFor& threads);

  /// Selects `drop` of all blocks (0 < drop < all) and writes the masks.
  MaskStats run(uint64_t drop);

  /// Writes the masks by the answer of a search that saw these tasks from number `first_task` on.
  MaskStats run_with(const ThresholdSearch<Key>& search, size_t first_task);

  /// Selects none or all of the blocks.
  MaskStats run_uniform(bool keep);

 private:
  // The result of one task in the pass that classifies by a bracket.
  struct TaskResult {
    Candidates<Key> candidates;
    uint64_t not_above_lo = 0;
  };

  MaskStats select_at_once(uint64_t drop);
  bool stores_keys() const noexcept;
  void store_keys();
  void sample(ThresholdSearch<Key>& search) const;
  void count(ThresholdSearch<Key>& search) const;
  bool classify(ThresholdSearch<Key>& search);
  void classify_task(const Task& task, const kernels::Bracket<Key>& bracket, MaskWriter& writer,
                     TaskResult& result) const;
  void flip(const Threshold<Key>& threshold, Key provisional, std::span<const TaskResult> results);
  void flip_in_task(const Task& task, Key threshold, Key provisional,
                    const Candidates<Key>& candidates, const NearKeys<Key>& wrong,
                    uint64_t* ties_left, MaskWriter& writer);
  template <typename Body>
  void for_each_task(const Body& body) const;
  template <typename Body>
  MaskStats write_each_task(const Body& body) const;
  template <typename Visit>
  void for_each_chunk_of(size_t task, const Visit& visit) const;
  uint8_t* mask_of(const Task& task) const noexcept { return targets_[task.matrix].mask.data(); }

  std::span<const BlockMatrix> matrices_;
  std::span<const MaskTarget> targets_;
  const kernels::KernelTable& table_;
  const kernels::KeyKernels<Key>& kernels_;
  ParallelFor& threads_;
  std::vector<Task> tasks_;
  uint64_t blocks_ = 0;
  uint64_t values_ = 0;
  bool streaming_ = false;
  uint64_t collect_limit_ = 0;
  mutable std::atomic<uint64_t> collected_{0};  // candidates of all tasks
  ScratchVector<Key> stored_;                   // all keys in order, if stores_keys()
  std::vector<size_t> stored_offset_;           // of each task in stored_
  MaskStats stats_;
};

}  // namespace winnow::core
