// PRIVATE. How the blocks of one or more matrices are cut into tasks, and read as keys.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "core/views/block_matrix.h"
#include "winnow/base/parallel_for.h"

namespace winnow::core {

/// Blocks [first, first + count) of one matrix.
struct Task {
  size_t matrix;
  size_t first;
  size_t count;
};

/// How many blocks a task has at most: some 10 microseconds of work, so that threads share evenly
/// and starting a task costs nothing beside it.
inline constexpr size_t kTaskBlocks = size_t{1} << 16;

/// How many keys are in flight between the kernels: they stay in the L1 cache.
inline constexpr size_t kChunkKeys = 1024;

/// Tasks that cover all blocks of `matrices`, in order; none spans two of them.
std::vector<Task> make_tasks(std::span<const BlockMatrix> matrices);

/// Fills keys[count, next multiple of 64) with padding.
template <typename Key>
void pad_keys(Key* keys, size_t count) {
  for (; count % kernels::kKeysPerWord != 0; ++count) keys[count] = kernels::kPadKey<Key>;
}

/// Runs body(t) for every task t through `threads`. Tasks of a ParallelFor do not throw: what
/// memory one of them lacked is thrown as std::bad_alloc when all have returned.
template <typename Body>
void run_tasks(ParallelFor& threads, size_t count, const Body& body) {
  std::atomic<bool> out_of_memory{false};
  threads.run(count, [&](size_t t) {
    try {
      body(t);
    } catch (const std::bad_alloc&) {
      out_of_memory.store(true);
    }
  });
  if (out_of_memory.load()) throw std::bad_alloc();
}

/// Calls visit(offset, count) for piece after piece of a task's blocks, each at most kChunkKeys.
template <typename Visit>
void for_each_piece(const BlockMatrix& matrix, const Task& task, const Visit& visit) {
  for (size_t offset = 0; offset < task.count;) {
    const size_t most = std::min(kChunkKeys, task.count - offset);
    const size_t count = matrix.piece_from(task.first + offset, most);
    visit(offset, count);
    offset += count;
  }
}

/// Calls visit(keys, offset, count) likewise: keys[0, count) are those of blocks first + offset on,
/// padded to whole words.
template <typename Key, typename Visit>
void for_each_chunk(const BlockMatrix& matrix, const Task& task, const Visit& visit) {
  alignas(64) Key keys[kChunkKeys];
  for_each_piece(matrix, task, [&](size_t offset, size_t count) {
    matrix.fill_keys(task.first + offset, count, keys);
    pad_keys(keys, count);
    visit(static_cast<const Key*>(keys), offset, count);
  });
}

}  // namespace winnow::core
