// PRIVATE. The exact k-th smallest of many keys that are seen piece by piece, by counting.
//
// A sample brackets the answer; one pass counts what lies below, on and inside the bracket and
// collects what is inside; the answer is then an exact order statistic of the few collected. Counts
// of integers add up exactly, so pieces, threads and matrices combine in any order.
// If a sample misleads, or too many keys lie inside, passes that only make histograms narrow the
// bracket until it cannot fail: at most 8 passes in all, the sample included. More than that means
// that the keys changed between two passes, which end_pass() then reports.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "core/tasks/scratch.h"
#include "kernels/kernel_table.h"

namespace winnow::core {

/// Blocks whose key is below `key` are dropped, and of those equal to it the first `ties`.
template <typename Key>
struct Threshold {
  Key key;
  uint64_t ties;
};

/// The keys strictly inside the bracket that one task met, in its order.
template <typename Key>
struct Candidates {
  ScratchVector<Key> keys;
  ScratchVector<uint32_t> blocks;  ///< index in the task
};

/// Where the sample's lines stand among `total` keys: one somewhere in each of `lines` equal
/// strata.
struct SamplePlan {
  static constexpr size_t kLineKeys = 16;  ///< a cache line of F32 values

  uint64_t total = 0;
  uint64_t lines = 0;
  uint64_t stratum = 1;  ///< keys; the last one may be longer or shorter

  /// Right for `total` keys; every key is sampled if they are few. A limit of `most` keys makes the
  /// bracket wider, and so candidates more.
  static SamplePlan of(uint64_t total, uint64_t most = UINT64_MAX);
  uint64_t line_begin(uint64_t line) const noexcept;
  uint64_t line_end(uint64_t line) const noexcept;

  /// The first line that begins at or after key `begin`; `lines` if none does.
  uint64_t first_line_from(uint64_t begin) const noexcept;
};

/// How many candidates of `total` keys are collected before a bracket is given up as too wide: all
/// of few keys, whose brackets are wide.
constexpr uint64_t candidate_limit(uint64_t total) noexcept { return total / 32 + (1u << 18); }

template <typename Key>
class ThresholdSearch {
 public:
  enum class Pass { kSample, kCount, kHistogram, kDone };

  /// Searches the `drop`-th smallest (1 <= drop <= total) of `total` keys, shown in `tasks` tasks.
  /// Samples and candidates take at most `max_bytes` (GlobalSelection::kLeastBytes or more): less
  /// memory can mean more passes, never another answer. Each task takes 20 bytes besides.
  ThresholdSearch(const kernels::KernelTable& table, uint64_t total, uint64_t drop, size_t tasks,
                  uint64_t max_bytes = UINT64_MAX);

  Pass pass() const noexcept { return pass_; }
  const SamplePlan& plan() const noexcept { return plan_; }

  /// kSample: adds one line of the plan; then ends the pass.
  void add_sample(std::span<const Key> line);
  void end_sample();

  /// The bracket that the sample gave.
  const kernels::Bracket<Key>& bracket() const noexcept { return bracket_; }

  /// True if an end of the bracket is a value that many keys share.
  bool ends_are_heavy() const noexcept { return heavy_ends_; }

  /// Takes the result of a pass that classified all keys by bracket() while it wrote masks:
  /// how many are not above the lower end, and the candidates of each task. False, changing
  /// nothing, if the answer is not among them.
  bool resolve_inside(uint64_t not_above_lo, std::span<const Candidates<Key>* const> candidates);

  /// Instead of all passes: takes all keys at once, those of task t from task_begin[t] on. Right
  /// if they are few.
  void resolve_among(std::span<const Key> keys, std::span<const size_t> task_begin);

  /// kCount and kHistogram: opens tasks [first, first + count), so that their keys can be shown.
  /// Only open tasks have counters of their own, so a pass over many opens a few at a time.
  void open_tasks(size_t first, size_t count);

  /// Shows keys of an open task, padded to whole words, `count` of them real. Thread-safe for
  /// distinct tasks.
  void show(size_t task, const Key* keys, size_t count);

  /// Closes the open tasks, all of whose keys were shown.
  void close_tasks();

  /// Ends a kCount or kHistogram pass, in which every task was opened and closed once. False if its
  /// keys contradict those of an earlier pass.
  [[nodiscard]] bool end_pass();

  /// kDone: the answer.
  Threshold<Key> threshold() const noexcept { return threshold_; }

  /// kDone after such a pass or resolve_among: how many keys equal to the answer are still to be
  /// dropped when all tasks before this one are done.
  uint64_t ties_left_at(size_t task) const noexcept {
    return threshold_.ties - std::min(threshold_.ties, ties_before_[task]);
  }

 private:
  struct OpenTask {
    kernels::BracketCounts counts;
    ScratchVector<Key> inside;
  };
  // What is left of a task when it is closed: how many of its keys could be ties.
  struct ClosedTask {
    uint32_t equal_lo, equal_hi, inside;
  };
  struct TaskRange {
    size_t first, count;
  };
  static constexpr size_t kBins = 2048;

  const kernels::KeyKernels<Key>& kernels() const noexcept { return table_.keys<Key>(); }
  double rank_variance(Key bound) const;
  Key first_guess(std::span<const Key> keys) const;
  void show_to_count(size_t task, const Key* keys, size_t words);
  void show_to_histogram(const Key* keys, size_t count);
  void end_count();
  bool end_histogram();
  Threshold<Key> select_inside(std::span<const Key> inside, uint64_t rank) const;
  Threshold<Key> select_between(Key low, Key high, std::span<const Key> keys, uint64_t rank) const;
  void resolve(Threshold<Key> answer);
  void count_ties_inside(Key key);
  void narrow(Key lo, Key hi, uint64_t at_or_below_lo);
  void start_count();

  const kernels::KernelTable& table_;
  uint64_t total_;
  uint64_t rank_;  // of the answer, counted from 0
  Pass pass_ = Pass::kSample;
  int passes_left_ = 12;  // above the 8 of constant keys: stops a search whose keys keep changing
  SamplePlan plan_;
  ScratchVector<Key> sample_;
  ScratchVector<uint32_t> line_sizes_;
  kernels::Bracket<Key> bracket_{};
  bool heavy_ends_ = false;
  Threshold<Key> threshold_{};
  std::vector<uint64_t> ties_before_;  // keys equal to the answer in all earlier tasks

  std::vector<OpenTask> open_;
  size_t first_open_ = 0;
  std::vector<ClosedTask> closed_;      // by task
  std::vector<TaskRange> close_order_;  // that of the candidates in inside_
  kernels::BracketCounts sum_;          // of all closed tasks
  ScratchVector<Key> inside_;           // their candidates
  std::atomic<uint64_t> collected_{0};
  uint64_t collect_limit_;

  // Histogram passes: keys lo < key < hi, bins of 2^shift keys from lo + 1 on.
  std::mutex mutex_;
  std::array<uint64_t, kBins> bins_{};
  uint64_t at_or_below_lo_ = 0;
  int shift_ = 0;
};

}  // namespace winnow::core
