#include "core/mask_job.h"

#include <algorithm>
#include <cstring>

#include "core/known_mask.h"

namespace winnow::core {
namespace {

// Masks from this many bytes on are written around the caches: smaller ones still stand in them
// when the few blocks that the bracket misjudged are turned over (measured: worse at 0.6 million
// values, better at 6 million).
constexpr uint64_t kStreamingBytes = 4 << 20;

// With blocks of this many values, keeping every key costs less than reading the values twice, and
// ties then need no third pass.
constexpr uint64_t kStoreFromBlockSize = 8;
constexpr uint64_t kMaxStoredBytes = 20 << 20;

template <typename Key>
const kernels::KeyKernels<Key>& kernels_of(const kernels::KernelTable& table) noexcept {
  if constexpr (sizeof(Key) == 4) {
    return table.keys32;
  } else {
    return table.keys64;
  }
}

}  // namespace

template <typename Key>
void sample_matrix(const BlockMatrix& matrix, uint64_t begin, uint64_t end,
                   ThresholdSearch<Key>& search) {
  const SamplePlan& plan = search.plan();
  Key keys[SamplePlan::kLineKeys];
  for (uint64_t line = plan.first_line_from(begin); line < plan.lines; ++line) {
    const uint64_t first = plan.line_begin(line);
    if (first >= end) break;
    const size_t count = std::min(plan.line_end(line), end) - first;
    matrix.fill_keys(first - begin, count, keys);
    search.add_sample({keys, count});
  }
}

template <typename Key>
MaskJob<Key>::MaskJob(std::span<const BlockMatrix> matrices, std::span<const MaskTarget> targets,
                      const kernels::KernelTable& table, ParallelFor& threads)
    : matrices_(matrices),
      targets_(targets),
      table_(table),
      kernels_(kernels_of<Key>(table)),
      threads_(threads),
      tasks_(make_tasks(matrices)) {
  for (const BlockMatrix& matrix : matrices) {
    blocks_ += matrix.blocks();
    values_ += matrix.values().numel();
  }
  streaming_ = values_ >= kStreamingBytes;
  stats_.blocks = blocks_;
}

template <typename Key>
template <typename Body>
void MaskJob<Key>::for_each_task(const Body& body) const {
  threads_.run(tasks_.size(), body);
}

template <typename Key>
template <typename Body>
MaskStats MaskJob<Key>::write_each_task(const Body& body) const {
  std::vector<MaskStats> stats(tasks_.size());
  for_each_task([&](size_t t) {
    MaskWriter writer(table_, streaming_);
    body(t, writer);
    writer.finish();
    stats[t] = writer.stats();
  });
  MaskStats sum{.blocks = blocks_};
  for (const MaskStats& task : stats) {
    sum.selected_blocks += task.selected_blocks;
    sum.dropped_values += task.dropped_values;
  }
  return sum;
}

template <typename Key>
template <typename Visit>
void MaskJob<Key>::for_each_chunk_of(size_t t, const Visit& visit) const {
  const Task& task = tasks_[t];
  if (!stored_) return for_each_chunk<Key>(matrices_[task.matrix], task, visit);
  alignas(64) Key padded[kChunkKeys];
  for (size_t offset = 0; offset < task.count; offset += kChunkKeys) {
    const size_t count = std::min(kChunkKeys, task.count - offset);
    const Key* keys = stored_.get() + stored_offset_[t] + offset;
    if (count % kernels::kKeysPerWord != 0) {
      std::copy(keys, keys + count, padded);
      pad_keys(padded, count);
      keys = padded;
    }
    visit(keys, offset, count);
  }
}

template <typename Key>
MaskStats MaskJob<Key>::run_uniform(bool keep) {
  return write_each_task([&](size_t t, MaskWriter& writer) {
    const Task& task = tasks_[t];
    write_uniform(matrices_[task.matrix], task, keep, mask_of(task), writer);
  });
}

template <typename Key>
MaskStats MaskJob<Key>::run(uint64_t drop) {
  if (stores_keys()) store_keys();
  ThresholdSearch<Key> search(table_, blocks_, drop, tasks_.size());
  sample(search);
  const bool one_pass = !stored_ && !search.ends_are_heavy();
  if (one_pass && classify(search)) return stats_;
  while (search.pass() != ThresholdSearch<Key>::Pass::kDone) count(search);
  return run_with(search, 0);
}

template <typename Key>
bool MaskJob<Key>::stores_keys() const noexcept {
  return blocks_ * kStoreFromBlockSize <= values_ && blocks_ * sizeof(Key) <= kMaxStoredBytes;
}

template <typename Key>
void MaskJob<Key>::store_keys() {
  auto stored = std::make_unique_for_overwrite<Key[]>(blocks_);
  size_t offset = 0;
  for (const Task& task : tasks_) {
    stored_offset_.push_back(offset);
    offset += task.count;
  }
  for_each_task([&](size_t t) {
    const Task& task = tasks_[t];
    matrices_[task.matrix].fill_keys(task.first, task.count, stored.get() + stored_offset_[t]);
  });
  stored_ = std::move(stored);
}

template <typename Key>
void MaskJob<Key>::sample(ThresholdSearch<Key>& search) const {
  uint64_t begin = 0;
  for (const BlockMatrix& matrix : matrices_) {
    sample_matrix(matrix, begin, begin + matrix.blocks(), search);
    begin += matrix.blocks();
  }
  search.end_sample();
}

template <typename Key>
void MaskJob<Key>::count(ThresholdSearch<Key>& search) const {
  for_each_task([&](size_t t) {
    for_each_chunk_of(t,
                      [&](const Key* keys, size_t, size_t count) { search.show(t, keys, count); });
  });
  search.end_pass();
}

// The common case in one pass: masks are written by the sample's estimate of the threshold while
// the blocks near it are collected; the few on the wrong side are turned over afterwards.
template <typename Key>
bool MaskJob<Key>::classify(ThresholdSearch<Key>& search) {
  const kernels::Bracket<Key> bracket = search.bracket();
  std::vector<TaskResult> results(tasks_.size());
  stats_ = write_each_task(
      [&](size_t t, MaskWriter& writer) { classify_task(tasks_[t], bracket, writer, results[t]); });
  uint64_t not_above_lo = 0;
  std::vector<const Candidates<Key>*> candidates;
  for (const TaskResult& result : results) {
    not_above_lo += result.not_above_lo;
    candidates.push_back(&result.candidates);
  }
  if (!search.resolve_inside(not_above_lo, candidates)) return false;
  flip(search.threshold(), bracket.threshold, results);
  return true;
}

template <typename Key>
void MaskJob<Key>::classify_task(const Task& task, const kernels::Bracket<Key>& bracket,
                                 MaskWriter& writer, TaskResult& result) const {
  const BlockMatrix& matrix = matrices_[task.matrix];
  uint64_t keep[kChunkKeys / 64];
  uint32_t found_at[kChunkKeys + 4];
  uint64_t kept = 0, shown = 0, provisionally_dropped = 0;
  for_each_chunk<Key>(matrix, task, [&](const Key* keys, size_t offset, size_t count) {
    const size_t words = (count + kernels::kKeysPerWord - 1) / kernels::kKeysPerWord;
    const size_t found = kernels_.classify(keys, words, bracket, keep, found_at, &kept);
    for (size_t i = 0; i < found; ++i) {
      const Key key = keys[found_at[i]];
      result.candidates.keys.push_back(key);
      result.candidates.blocks.push_back(static_cast<uint32_t>(offset + found_at[i]));
      provisionally_dropped += key < bracket.threshold;
    }
    shown += words * kernels::kKeysPerWord;
    writer.write(matrix, task.first + offset, count, keep, mask_of(task));
  });
  result.not_above_lo = shown - kept - provisionally_dropped;
}

template <typename Key>
void MaskJob<Key>::flip(const Threshold<Key>& threshold, Key provisional,
                        std::span<const TaskResult> results) {
  MaskWriter writer(table_, /*streaming=*/false);
  uint64_t ties_left = threshold.ties;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    const Task& task = tasks_[t];
    const Candidates<Key>& candidates = results[t].candidates;
    for (size_t i = 0; i < candidates.keys.size(); ++i) {
      const Key key = candidates.keys[i];
      bool keep = key > threshold.key;
      if (key == threshold.key) {
        keep = ties_left == 0;
        ties_left -= !keep;
      }
      if (keep == (key >= provisional)) continue;
      writer.flip_block(matrices_[task.matrix], task.first + candidates.blocks[i], keep,
                        mask_of(task));
    }
  }
  stats_.selected_blocks += writer.stats().selected_blocks;
  stats_.dropped_values += writer.stats().dropped_values;
}

template <typename Key>
MaskStats MaskJob<Key>::run_with(const ThresholdSearch<Key>& search, size_t first_task) {
  const Threshold<Key> threshold = search.threshold();
  std::vector<uint64_t> ties_left(tasks_.size());
  uint64_t left = search.ties_left_at(first_task);
  for (size_t t = 0; t < tasks_.size(); ++t) {
    ties_left[t] = left;
    left -= std::min(left, search.ties_in_task(first_task + t));
  }
  return write_each_task([&](size_t t, MaskWriter& writer) {
    const Task& task = tasks_[t];
    KeepBits<Key> bits(kernels_, threshold.key, ties_left[t]);
    for_each_chunk_of(t, [&](const Key* keys, size_t offset, size_t count) {
      writer.write(matrices_[task.matrix], task.first + offset, count, bits.next(keys, count),
                   mask_of(task));
    });
  });
}

template void sample_matrix(const BlockMatrix&, uint64_t, uint64_t, ThresholdSearch<int32_t>&);
template void sample_matrix(const BlockMatrix&, uint64_t, uint64_t, ThresholdSearch<int64_t>&);
template class MaskJob<int32_t>;
template class MaskJob<int64_t>;

}  // namespace winnow::core
