#include "core/threshold_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace winnow::core {
namespace {

// Sampling more costs more than it saves: the sample's own cost grows with S, that of the
// candidates with n / sqrt(S), and n^0.6 balances them (measured from 10^5 to 10^8 keys).
constexpr double kSampleFactor = 4;
constexpr double kSampleExponent = 0.6;
constexpr uint64_t kSampleAllBelow = 4096;

// Half-width of the bracket in standard deviations of the sample's rank. At 4 no miss was seen in
// 900 trials on normal data.
constexpr double kDeviations = 4;

// An end of the bracket that more than this share of the sample equals is likely to be the answer.
constexpr double kHeavyShare = 0.004;

// A fixed, well-mixed position in each stratum, so that no period in the data meets the sample.
uint64_t mix(uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ull;  // splitmix64 (Steele, Lea, Flood 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// a * b / c, whatever the size of the product. Precondition: a <= c.
uint64_t scale(uint64_t a, uint64_t b, uint64_t c) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(a) * b / c);
}

// A bound in [low, high] below which about `rank` of the keys lie: at most `tolerance` off, or as
// near as equal keys allow. `low` is returned where even that has too many below it.
template <typename Key>
Key bound_near_rank(const kernels::KeyKernels<Key>& kernels, std::span<const Key> keys, Key low,
                    Key high, double rank, double tolerance) {
  while (low < high) {
    const Key middle = low + (high - low) / 2 + 1;
    const auto below = static_cast<double>(kernels.count_below(keys.data(), keys.size(), middle));
    if (std::abs(below - rank) <= tolerance) return middle;
    if (below <= rank) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

SamplePlan SamplePlan::of(uint64_t total) {
  const uint64_t all = (total + kLineKeys - 1) / kLineKeys;
  if (total <= kSampleAllBelow) return {total, all};
  const double keys = kSampleFactor * std::pow(static_cast<double>(total), kSampleExponent);
  return {total, std::min(all, static_cast<uint64_t>(keys) / kLineKeys)};
}

uint64_t SamplePlan::line_begin(uint64_t line) const noexcept {
  const uint64_t begin = scale(line, total, lines);
  const uint64_t room = scale(line + 1, total, lines) - begin;
  return room > kLineKeys ? begin + mix(line) % (room - kLineKeys + 1) : begin;
}

uint64_t SamplePlan::line_end(uint64_t line) const noexcept {
  const uint64_t stratum_end = scale(line + 1, total, lines);
  return std::min(line_begin(line) + kLineKeys, stratum_end);
}

uint64_t SamplePlan::first_line_from(uint64_t begin) const noexcept {
  if (total == 0) return lines;
  uint64_t line = scale(begin, lines, total);  // a stratum around `begin`, or just before it
  while (line > 0 && line_begin(line - 1) >= begin) --line;
  while (line < lines && line_begin(line) < begin) ++line;
  return line;
}

template <typename Key>
ThresholdSearch<Key>::ThresholdSearch(const kernels::KernelTable& table, uint64_t total,
                                      uint64_t drop, size_t tasks)
    : table_(table),
      total_(total),
      rank_(drop - 1),
      plan_(SamplePlan::of(total)),
      ties_(tasks),
      tasks_(tasks),
      collect_limit_(total / 32 + kSampleAllBelow) {
  sample_.reserve(plan_.lines * SamplePlan::kLineKeys);
  line_sizes_.reserve(plan_.lines);
}

template <>
const kernels::KeyKernels<int32_t>& ThresholdSearch<int32_t>::kernels() const noexcept {
  return table_.keys32;
}

template <>
const kernels::KeyKernels<int64_t>& ThresholdSearch<int64_t>::kernels() const noexcept {
  return table_.keys64;
}

template <typename Key>
void ThresholdSearch<Key>::add_sample(std::span<const Key> line) {
  sample_.insert(sample_.end(), line.begin(), line.end());
  line_sizes_.push_back(static_cast<uint32_t>(line.size()));
}

template <typename Key>
void ThresholdSearch<Key>::end_sample() {
  const std::span<const Key> keys(sample_);
  const auto size = static_cast<double>(keys.size());
  const double rank = static_cast<double>(rank_) / static_cast<double>(total_) * size;
  const Key nan = kernels::kNanKey<Key>;
  const double spread = std::sqrt(size) / 8;
  const Key middle = bound_near_rank<Key>(kernels(), keys, 0, nan, rank, spread);

  // Neighbours are often alike (rows of one scale, sorted data), so lines vary more than single
  // keys would: the variance is taken between lines, and from the share where that is larger.
  const double below_share =
      static_cast<double>(kernels().count_below(keys.data(), keys.size(), middle)) / size;
  double between_lines = 0;
  size_t at = 0;
  for (const uint32_t line : line_sizes_) {
    double below = 0;
    for (size_t i = 0; i < line; ++i) below += sample_[at + i] < middle;
    const double off = below - below_share * line;
    between_lines += off * off;
    at += line;
  }
  const double variance = std::max(size * below_share * (1 - below_share), between_lines);
  const double width = kDeviations * std::sqrt(variance) + spread + 2;

  const bool no_low = rank - width <= 0, no_high = rank + width >= size;
  bracket_.lo =
      no_low ? -1 : bound_near_rank<Key>(kernels(), keys, 0, middle, rank - width, width / 8);
  bracket_.hi = no_high
                    ? kernels::kPadKey<Key>
                    : bound_near_rank<Key>(kernels(), keys, middle, nan, rank + width, width / 8);
  bracket_.threshold =
      std::clamp<Key>(middle, bracket_.lo + 1, std::max(bracket_.hi, bracket_.lo + 1));
  const auto share_of = [&](Key key) {
    const size_t up_to = kernels().count_below(keys.data(), keys.size(), key + 1);
    return static_cast<double>(up_to - kernels().count_below(keys.data(), keys.size(), key)) / size;
  };
  heavy_ends_ = bracket_.lo >= bracket_.hi || (!no_low && share_of(bracket_.lo) > kHeavyShare) ||
                (!no_high && share_of(bracket_.hi) > kHeavyShare);
  sample_ = {};
  line_sizes_ = {};
  start_count();
}

template <typename Key>
void ThresholdSearch<Key>::start_count() {
  collected_.store(0);
  for (TaskState& task : tasks_) task = {};
  pass_ = Pass::kCount;
}

template <typename Key>
bool ThresholdSearch<Key>::resolve_inside(uint64_t not_above_lo,
                                          std::span<const Candidates<Key>* const> candidates) {
  std::vector<Key> inside;
  for (const Candidates<Key>* task : candidates) {
    inside.insert(inside.end(), task->keys.begin(), task->keys.end());
  }
  if (rank_ < not_above_lo || rank_ - not_above_lo >= inside.size()) return false;
  threshold_ = select_inside(inside, rank_ - not_above_lo);
  pass_ = Pass::kDone;
  return true;
}

// The key of that rank among those inside the bracket, and how many of its equals fall.
template <typename Key>
Threshold<Key> ThresholdSearch<Key>::select_inside(std::span<const Key> inside,
                                                   uint64_t rank) const {
  constexpr double kExact = -1;  // no bound is that near, so the search ends at the key itself
  const Key key = bound_near_rank<Key>(kernels(), inside, bracket_.lo + 1, bracket_.hi - 1,
                                       static_cast<double>(rank), kExact);
  return {key, rank - kernels().count_below(inside.data(), inside.size(), key) + 1};
}

template <typename Key>
void ThresholdSearch<Key>::show(size_t task, const Key* keys, size_t count) {
  if (pass_ == Pass::kHistogram) return show_to_histogram(keys, count);
  show_to_count(task, keys, (count + kernels::kKeysPerWord - 1) / kernels::kKeysPerWord);
}

template <typename Key>
void ThresholdSearch<Key>::show_to_count(size_t task, const Key* keys, size_t words) {
  constexpr size_t kPieceWords = 16;
  uint32_t candidates[kPieceWords * kernels::kKeysPerWord + 4];
  TaskState& state = tasks_[task];
  for (size_t w = 0; w < words; w += kPieceWords) {
    const Key* piece = keys + w * kernels::kKeysPerWord;
    const size_t found = kernels().count(piece, std::min(kPieceWords, words - w), bracket_,
                                         &state.counts, candidates);
    if (found == 0 || collected_.fetch_add(found) + found > collect_limit_) continue;
    for (size_t i = 0; i < found; ++i) state.inside.push_back(piece[candidates[i]]);
  }
  // Padding equals the upper end of a bracket without one.
  if (bracket_.hi == kernels::kPadKey<Key>) state.counts.equal_hi = 0;
}

template <typename Key>
void ThresholdSearch<Key>::show_to_histogram(const Key* keys, size_t count) {
  std::array<uint64_t, kBins> bins{};
  for (size_t i = 0; i < count; ++i) {
    if (keys[i] <= bracket_.lo || keys[i] >= bracket_.hi) continue;
    ++bins[static_cast<size_t>((keys[i] - bracket_.lo - 1) >> shift_)];
  }
  const std::scoped_lock lock(mutex_);
  for (size_t i = 0; i < kBins; ++i) bins_[i] += bins[i];
}

template <typename Key>
void ThresholdSearch<Key>::end_pass() {
  if (pass_ == Pass::kHistogram) {
    end_histogram();
  } else {
    end_count();
  }
}

template <typename Key>
void ThresholdSearch<Key>::end_count() {
  kernels::BracketCounts sum;
  for (const TaskState& task : tasks_) {
    sum.below_lo += task.counts.below_lo;
    sum.equal_lo += task.counts.equal_lo;
    sum.equal_hi += task.counts.equal_hi;
    sum.inside += task.counts.inside;
  }
  const uint64_t not_above_lo = sum.below_lo + sum.equal_lo;
  const uint64_t below_hi = not_above_lo + sum.inside;
  if (rank_ < sum.below_lo) return narrow(-1, bracket_.lo, 0);
  if (rank_ < not_above_lo) return resolve({bracket_.lo, rank_ - sum.below_lo + 1});
  if (rank_ >= below_hi + sum.equal_hi) {
    return narrow(bracket_.hi, kernels::kPadKey<Key>, below_hi + sum.equal_hi);
  }
  if (rank_ >= below_hi) return resolve({bracket_.hi, rank_ - below_hi + 1});
  if (collected_.load() > collect_limit_) return narrow(bracket_.lo, bracket_.hi, not_above_lo);
  std::vector<Key> inside;
  for (const TaskState& task : tasks_) {
    inside.insert(inside.end(), task.inside.begin(), task.inside.end());
  }
  resolve(select_inside(inside, rank_ - not_above_lo));
}

template <typename Key>
void ThresholdSearch<Key>::resolve(Threshold<Key> answer) {
  threshold_ = answer;
  const Key key = answer.key;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const TaskState& task = tasks_[i];
    if (key == bracket_.lo) {
      ties_[i] = task.counts.equal_lo;
    } else if (key == bracket_.hi) {
      ties_[i] = task.counts.equal_hi;
    } else {
      ties_[i] = static_cast<uint64_t>(std::count(task.inside.begin(), task.inside.end(), key));
    }
  }
  tasks_ = {};
  pass_ = Pass::kDone;
}

// The answer is known to lie strictly between lo and hi, with so many keys at or below lo.
template <typename Key>
void ThresholdSearch<Key>::narrow(Key lo, Key hi, uint64_t at_or_below_lo) {
  bracket_ = {lo, hi, hi};
  at_or_below_lo_ = at_or_below_lo;
  const auto width = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) - 1;
  shift_ = std::max(
      0, static_cast<int>(std::bit_width(width - 1)) - static_cast<int>(std::bit_width(kBins - 1)));
  bins_.fill(0);
  pass_ = Pass::kHistogram;
}

template <typename Key>
void ThresholdSearch<Key>::end_histogram() {
  uint64_t below = at_or_below_lo_;
  size_t bin = 0;
  while (below + bins_[bin] <= rank_) below += bins_[bin++];
  const auto bin_begin = [&](size_t i) {
    const uint64_t key = static_cast<uint64_t>(bracket_.lo) + 1 + (uint64_t{i} << shift_);
    return static_cast<Key>(std::min(key, static_cast<uint64_t>(bracket_.hi)));
  };
  const Key first = bin_begin(bin), past = bin_begin(bin + 1);
  if (shift_ == 0) {
    bracket_ = {first, first, first};  // a bin is one key: it is the answer
    return start_count();
  }
  if (bins_[bin] <= collect_limit_) {
    bracket_ = {static_cast<Key>(first - 1), past, past};
    return start_count();
  }
  narrow(first - 1, past, below);
}

template <typename Key>
uint64_t ThresholdSearch<Key>::ties_left_at(size_t task) const noexcept {
  uint64_t left = threshold_.ties;
  for (size_t t = 0; t < task; ++t) left -= std::min(left, ties_[t]);
  return left;
}

template class ThresholdSearch<int32_t>;
template class ThresholdSearch<int64_t>;

}  // namespace winnow::core
