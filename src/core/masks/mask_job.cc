#include "core/masks/mask_job.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/selection/known_mask.h"

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

// Up to this many keys are stored and selected from without a sample, which would be most of them
// (measured: sampling is as fast from 8,000 blocks of one value and 16,000 of four on).
constexpr uint64_t kSelectAtOnce = 8192;

// Room for the candidates of a task on ordinary data.
constexpr size_t kExpectedCandidates = kTaskBlocks / 16;

// How many lines of a sample ahead their values are fetched.
constexpr uint64_t kLinesAhead = 12;

// How many flips ahead their mask bytes are fetched: enough to hide a read of main memory.
constexpr size_t kFlipsAhead = 16;

}  // namespace

template <typename Key>
void sample_matrix(const BlockMatrix& matrix, uint64_t begin, uint64_t end,
                   ThresholdSearch<Key>& search) {
  const SamplePlan& plan = search.plan();
  Key keys[SamplePlan::kLineKeys];
  for (uint64_t line = plan.first_line_from(begin); line < plan.lines; ++line) {
    const uint64_t first = plan.line_begin(line);
    if (first >= end) break;
    // Each line stands on a page of its own: without this every one would be waited for.
    const uint64_t ahead = plan.line_begin(line + kLinesAhead);
    if (ahead < end) matrix.prefetch(ahead - begin);
    const size_t count = std::min(plan.line_end(line), end) - first;
    // A line that reaches past the matrix is cut at its end: what varies together is one matrix.
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
      kernels_(table.keys<Key>()),
      threads_(threads),
      tasks_(make_tasks(matrices)) {
  for (const BlockMatrix& matrix : matrices) {
    blocks_ += matrix.blocks();
    values_ += matrix.values().numel();
  }
  streaming_ = values_ >= kStreamingBytes;
  collect_limit_ = candidate_limit(blocks_);
  stats_.blocks = blocks_;
}

template <typename Key>
template <typename Body>
void MaskJob<Key>::for_each_task(const Body& body) const {
  run_tasks(threads_, tasks_.size(), body);
}

template <typename Key>
template <typename Body>
MaskStats MaskJob<Key>::write_each_task(const Body& body) const {
  // Writers stage rows and count, so each task has one of its own.
  std::vector<MaskStats> stats(tasks_.size());
  for_each_task([&](size_t t) {
    MaskWriter writer(table_, streaming_);
    body(t, writer);
    writer.finish();
    stats[t] = writer.stats();
  });
  MaskStats sum{.blocks = blocks_};
  for (const MaskStats& task : stats) sum += task;  // writers do not count blocks
  return sum;
}

template <typename Key>
template <typename Visit>
void MaskJob<Key>::for_each_chunk_of(size_t t, const Visit& visit) const {
  const Task& task = tasks_[t];
  if (stored_.size() == 0) return for_each_chunk<Key>(matrices_[task.matrix], task, visit);
  alignas(64) Key padded[kChunkKeys];
  for_each_piece(matrices_[task.matrix], task, [&](size_t offset, size_t count) {
    // Kernels read whole words, and behind these keys stand those of the next piece.
    const Key* keys = stored_.begin() + stored_offset_[t] + offset;
    if (count % kernels::kKeysPerWord != 0) {
      std::copy(keys, keys + count, padded);
      pad_keys(padded, count);
      keys = padded;
    }
    visit(keys, offset, count);
  });
}

template <typename Key>
MaskStats MaskJob<Key>::run_uniform(bool keep) {
  return write_each_task([&](size_t t, MaskWriter& writer) {
    const Task& task = tasks_[t];
    write_uniform(matrices_[task.matrix], task, keep, mask_of(task), writer);
  });
}

// Keys are read as rarely as they allow: all at once if they are few, else in one pass, else in
// passes that count and a last one that writes.
template <typename Key>
MaskStats MaskJob<Key>::run(uint64_t drop) {
  if (blocks_ <= kSelectAtOnce) return select_at_once(drop);
  if (stores_keys()) store_keys();
  ThresholdSearch<Key> search(table_, blocks_, drop, tasks_.size());
  sample(search);
  // Stored keys are cheap to read again, and heavy ends would make candidates of too many blocks.
  const bool one_pass = stored_.size() == 0 && !search.ends_are_heavy();
  if (one_pass && classify(search)) return stats_;
  while (search.pass() != ThresholdSearch<Key>::Pass::kDone) count(search);
  return run_with(search, 0);
}

// Few keys stay in the cache: they are scored once, and the answer is found among all of them.
template <typename Key>
MaskStats MaskJob<Key>::select_at_once(uint64_t drop) {
  store_keys();
  ThresholdSearch<Key> search(table_, blocks_, drop, tasks_.size());
  search.resolve_among(stored_, stored_offset_);
  return run_with(search, 0);
}

template <typename Key>
bool MaskJob<Key>::stores_keys() const noexcept {
  return blocks_ * kStoreFromBlockSize <= values_ && blocks_ * sizeof(Key) <= kMaxStoredBytes;
}

// In the order of the tasks, each of which writes its own part.
template <typename Key>
void MaskJob<Key>::store_keys() {
  Key* stored = stored_.room(blocks_);
  size_t offset = 0;
  for (const Task& task : tasks_) {
    stored_offset_.push_back(offset);
    offset += task.count;
  }
  for_each_task([&](size_t t) {
    const Task& task = tasks_[t];
    matrices_[task.matrix].fill_keys(task.first, task.count, stored + stored_offset_[t]);
  });
  stored_.grow(blocks_);
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
  search.open_tasks(0, tasks_.size());
  for_each_task([&](size_t t) {
    for_each_chunk_of(t,
                      [&](const Key* keys, size_t, size_t count) { search.show(t, keys, count); });
  });
  search.close_tasks();
  // The caller's values do not change during a call, so no pass contradicts another.
  const bool consistent = search.end_pass();
  assert(consistent);
  static_cast<void>(consistent);
}

// The common case in one pass: masks are written by the sample's estimate of the threshold while
// the blocks near it are collected; the few on the wrong side are turned over afterwards.
template <typename Key>
bool MaskJob<Key>::classify(ThresholdSearch<Key>& search) {
  const kernels::Bracket<Key> bracket = search.bracket();
  assert(bracket.is_ordered() && bracket.lo < bracket.threshold);
  std::vector<TaskResult> results(tasks_.size());
  stats_ = write_each_task(
      [&](size_t t, MaskWriter& writer) { classify_task(tasks_[t], bracket, writer, results[t]); });
  // If this fails, the masks are wrong as they stand; the caller writes all of them again.
  if (collected_.load() > collect_limit_) return false;
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
  // Straight from the values, but for a last, partial word, which needs padding behind its keys.
  const BlockMatrix& matrix = matrices_[task.matrix];
  const bool in_place = matrix.can_classify_values() && matrix.has_keys_of<Key>();
  alignas(64) Key keys[kChunkKeys];
  uint64_t keep[kChunkKeys / 64];
  uint64_t kept = 0, shown = 0;
  result.candidates.keys.room(kExpectedCandidates);
  result.candidates.blocks.room(kExpectedCandidates);
  for_each_piece(matrix, task, [&](size_t offset, size_t count) {
    if (collected_.load() > collect_limit_)
      return;  // the pass is lost: too many near the threshold
    const size_t first = task.first + offset;
    const size_t words = (count + kernels::kKeysPerWord - 1) / kernels::kKeysPerWord;
    uint32_t* found_blocks = result.candidates.blocks.room(kChunkKeys + 4);
    const kernels::CandidateSink<Key> sink{found_blocks,
                                           result.candidates.keys.room(kChunkKeys + 4)};
    size_t found = 0;
    if (in_place && count == words * kernels::kKeysPerWord) {
      found = matrix.classify_values(first, words, bracket, keep, sink, &kept);
    } else {
      matrix.fill_keys(first, count, keys);
      pad_keys(keys, count);
      found = kernels_.classify(keys, words, bracket, keep, sink, &kept);
    }
    for (size_t i = 0; i < found; ++i) found_blocks[i] += static_cast<uint32_t>(offset);
    result.candidates.keys.grow(found);
    result.candidates.blocks.grow(found);
    collected_.fetch_add(found);
    shown += words * kernels::kKeysPerWord;
    writer.write(matrix, first, count, keep, mask_of(task));
  });
  const ScratchVector<Key>& found = result.candidates.keys;
  const size_t dropped_inside =
      kernels_.count_below(found.begin(), found.size(), bracket.threshold);
  // `shown` and `kept` both count the padding, which is above every threshold.
  result.not_above_lo = shown - kept - dropped_inside;
}

// Blocks between the answer and the provisional threshold are on the wrong side of it. They are
// few, and ties are spent from the lowest index on, so one thread goes through them in order.
template <typename Key>
void MaskJob<Key>::flip(const Threshold<Key>& threshold, Key provisional,
                        std::span<const TaskResult> results) {
  MaskWriter writer(table_, /*streaming=*/false);
  const Key low = std::min(threshold.key, provisional), high = std::max(threshold.key, provisional);
  uint64_t ties_left = threshold.ties;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    const Candidates<Key>& candidates = results[t].candidates;
    const NearKeys<Key> wrong = near_keys<Key>(kernels_, candidates.keys, low, high);
    flip_in_task(tasks_[t], threshold.key, provisional, candidates, wrong, &ties_left, writer);
  }
  stats_.selected_blocks += writer.stats().selected_blocks;
  stats_.dropped_values += writer.stats().dropped_values;
}

template <typename Key>
void MaskJob<Key>::flip_in_task(const Task& task, Key threshold, Key provisional,
                                const Candidates<Key>& candidates, const NearKeys<Key>& wrong,
                                uint64_t* ties_left, MaskWriter& writer) {
  const BlockMatrix& matrix = matrices_[task.matrix];
  uint8_t* mask = mask_of(task);
  for (size_t i = 0; i < wrong.keys.size(); ++i) {
    // The mask was written around the caches, and its next places are known.
    if (i + kFlipsAhead < wrong.keys.size()) {
      const size_t ahead = task.first + candidates.blocks[wrong.indices[i + kFlipsAhead]];
      __builtin_prefetch(mask + matrix.mask_offset(ahead), 1);
    }
    const Key key = wrong.keys[i];
    bool keep = key > threshold;
    if (key == threshold) {
      keep = *ties_left == 0;
      *ties_left -= !keep;
    }
    if (keep == (key >= provisional)) continue;
    writer.flip_block(matrix, task.first + candidates.blocks[wrong.indices[i]], keep, mask);
  }
}

// The threshold is known, and for each task how many ties earlier ones have spent, so tasks need
// not wait for each other.
template <typename Key>
MaskStats MaskJob<Key>::run_with(const ThresholdSearch<Key>& search, size_t first_task) {
  const Threshold<Key> threshold = search.threshold();
  return write_each_task([&](size_t t, MaskWriter& writer) {
    const Task& task = tasks_[t];
    KeepBits<Key> bits(kernels_, threshold.key, search.ties_left_at(first_task + t));
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
