#include "core/selection/threshold_search.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "core/selection/near_keys.h"

namespace winnow::core {
namespace {

// Sampling more costs more than it saves: the sample's own cost grows with S, that of the
// candidates with n / sqrt(S), and n^0.6 balances them (measured from 10^5 to 10^8 keys).
constexpr double kSampleFactor = 6;
constexpr double kSampleExponent = 0.6;
constexpr uint64_t kSampleAllBelow = 4096;

// Half-width of the bracket in standard deviations of the sample's rank. A miss costs a second pass
// and is expected in 6 masks of 1,000; a wider bracket costs more candidates in every mask.
constexpr double kDeviations = 2.75;

// An end of the bracket that more than this share of the sample equals is likely to be the answer.
constexpr double kHeavyShare = 0.004;

// A fixed, well-mixed position in each stratum, so that no period in the data meets the sample.
uint64_t mix(uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ull;  // splitmix64 (Steele, Lea, Flood 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// How many keys to hold at once in `bytes`. A vector of them has a power of two of keys; while it
// grows, the half of it is there besides, and what a selection copies is an eighth of them.
template <typename Key>
constexpr uint64_t keys_in(uint64_t bytes) noexcept {
  return std::bit_floor(bytes / (2 * sizeof(Key)));
}

// The ranks that bounds have among some keys, found by counting.
template <typename Key>
class RankFinder {
 public:
  RankFinder(const kernels::KeyKernels<Key>& kernels, std::span<const Key> keys)
      : kernels_(kernels), keys_(keys) {}

  double below(Key bound) const noexcept {
    return static_cast<double>(kernels_.count_below(keys_.data(), keys_.size(), bound));
  }

  // A bound in [low, high] below which about `rank` keys lie: at most `tolerance` off, or as near
  // as equal keys allow. `low` is returned if even that has too many below it.
  Key bound_near(double rank, Key low, Key high, double tolerance) const noexcept {
    while (low < high) {
      const Key middle = low + (high - low) / 2 + 1;
      const double count = below(middle);
      if (std::abs(count - rank) <= tolerance) return middle;
      if (count <= rank) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  // As above for a rank that is near that of `start`: searches outwards from there.
  Key bound_near_start(double rank, Key start, double tolerance) const noexcept {
    const Key nan = kernels::kNanKey<Key>;
    const bool down = rank < below(start);
    Key inner = start, step = nan >> (sizeof(Key) == 4 ? 13 : 20);
    for (;; step = step > nan / 2 ? nan : step * 2) {
      const Key outer =
          down ? start - std::min(start, step) : start + std::min<Key>(nan - start, step);
      if (outer == 0 || outer == nan || (below(outer) <= rank) == down) {
        return down ? bound_near(rank, outer, inner, tolerance)
                    : bound_near(rank, inner, outer, tolerance);
      }
      inner = outer;
    }
  }

 private:
  const kernels::KeyKernels<Key>& kernels_;
  std::span<const Key> keys_;
};

}  // namespace

SamplePlan SamplePlan::of(uint64_t total, uint64_t most) {
  const uint64_t all = (total + kLineKeys - 1) / kLineKeys;
  if (total <= kSampleAllBelow) return {total, all, kLineKeys};
  const double keys = kSampleFactor * std::pow(static_cast<double>(total), kSampleExponent);
  const uint64_t lines = std::min(all, std::min(static_cast<uint64_t>(keys), most) / kLineKeys);
  return {total, lines, total / lines};
}

uint64_t SamplePlan::line_begin(uint64_t line) const noexcept {
  const uint64_t room = stratum - std::min(stratum, kLineKeys - 1);
  return line * stratum + (room > 1 ? mix(line) % room : 0);
}

uint64_t SamplePlan::line_end(uint64_t line) const noexcept {
  return std::min(line_begin(line) + std::min<uint64_t>(stratum, kLineKeys), total);
}

uint64_t SamplePlan::first_line_from(uint64_t begin) const noexcept {
  uint64_t line = std::min(begin / stratum, lines);
  while (line < lines && line_begin(line) < begin) ++line;
  return line;
}

template <typename Key>
ThresholdSearch<Key>::ThresholdSearch(const kernels::KernelTable& table, uint64_t total,
                                      uint64_t drop, size_t tasks, uint64_t max_bytes)
    : table_(table),
      total_(total),
      rank_(drop - 1),
      plan_(SamplePlan::of(total, keys_in<Key>(max_bytes))),
      ties_before_(tasks),
      closed_(tasks),
      collect_limit_(std::min(candidate_limit(total), keys_in<Key>(max_bytes))) {
  sample_.room(plan_.lines * SamplePlan::kLineKeys);
  line_sizes_.room(plan_.lines);
}

template <typename Key>
void ThresholdSearch<Key>::add_sample(std::span<const Key> line) {
  sample_.append(line);
  const auto size = static_cast<uint32_t>(line.size());
  line_sizes_.append({&size, 1});
}

template <typename Key>
void ThresholdSearch<Key>::end_sample() {
  const RankFinder<Key> ranks(kernels(), sample_);
  const auto size = static_cast<double>(sample_.size());
  const double rank = static_cast<double>(rank_) / static_cast<double>(total_) * size;
  const double slack = std::sqrt(size) / 8;
  const Key middle = ranks.bound_near_start(rank, first_guess(sample_), slack);
  const double width = kDeviations * std::sqrt(rank_variance(middle)) + slack + 2;

  const bool no_low = rank - width <= 0, no_high = rank + width >= size;
  bracket_.lo = no_low ? -1 : ranks.bound_near_start(rank - width, middle, width / 16);
  bracket_.hi =
      no_high ? kernels::kPadKey<Key> : ranks.bound_near_start(rank + width, middle, width / 16);
  // Above lo, so that the pass that classifies keeps no key at lo. If both ends meet there is no
  // such pass.
  bracket_.threshold =
      std::clamp<Key>(middle, std::min<Key>(bracket_.lo + 1, bracket_.hi), bracket_.hi);
  const auto is_heavy = [&](Key end) {
    return ranks.below(end + 1) - ranks.below(end) > kHeavyShare * size;
  };
  heavy_ends_ = bracket_.lo >= bracket_.hi || (!no_low && is_heavy(bracket_.lo)) ||
                (!no_high && is_heavy(bracket_.hi));
  // Back to the pool, where the candidates find them.
  sample_ = ScratchVector<Key>();
  line_sizes_ = ScratchVector<uint32_t>();
  start_count();
}

// The key of about the right rank in a small part of `keys`.
template <typename Key>
Key ThresholdSearch<Key>::first_guess(std::span<const Key> keys) const {
  constexpr size_t kGuessKeys = 32;
  std::array<Key, kGuessKeys> guess;
  for (size_t i = 0; i < kGuessKeys; ++i) guess[i] = keys[i * keys.size() / kGuessKeys];
  const auto nth = guess.begin() + static_cast<ptrdiff_t>(rank_ * (kGuessKeys - 1) / total_);
  std::nth_element(guess.begin(), nth, guess.end());
  return *nth;
}

// The variance of the number of sampled keys below `bound`. Neighbours are often alike (rows of one
// scale, sorted data), so lines may vary more than single keys would: the larger estimate counts.
template <typename Key>
double ThresholdSearch<Key>::rank_variance(Key bound) const {
  const auto size = static_cast<double>(sample_.size());
  const double share = RankFinder<Key>(kernels(), sample_).below(bound) / size;
  double between_lines = 0;
  const Key* key = sample_.begin();
  for (const uint32_t line : line_sizes_) {
    int below = 0;
    for (const Key* end = key + line; key != end; ++key) below += *key < bound;
    const double off = below - share * line;
    between_lines += off * off;
  }
  return std::max(size * share * (1 - share), between_lines);
}

template <typename Key>
void ThresholdSearch<Key>::start_count() {
  assert(bracket_.is_ordered());
  collected_.store(0);
  close_order_.clear();
  sum_ = {};
  inside_ = ScratchVector<Key>();
  pass_ = Pass::kCount;
}

template <typename Key>
bool ThresholdSearch<Key>::resolve_inside(uint64_t not_above_lo,
                                          std::span<const Candidates<Key>* const> candidates) {
  size_t count = 0;
  for (const Candidates<Key>* task : candidates) count += task->keys.size();
  ScratchVector<Key> inside;
  inside.room(count);
  for (const Candidates<Key>* task : candidates) inside.append(task->keys);
  if (rank_ < not_above_lo || rank_ - not_above_lo >= inside.size()) return false;
  threshold_ = select_inside(inside, rank_ - not_above_lo);
  pass_ = Pass::kDone;
  return true;
}

// The key of that rank among those inside the bracket, and how many of its equals are dropped.
template <typename Key>
Threshold<Key> ThresholdSearch<Key>::select_inside(std::span<const Key> inside,
                                                   uint64_t rank) const {
  // Most keys are ruled out by a bound on either side that is found roughly: the exact search then
  // counts few of them at each step.
  const auto size = static_cast<double>(inside.size());
  const auto wanted = static_cast<double>(rank);
  const RankFinder<Key> all(kernels(), inside);
  const Key first = bracket_.lo + 1, last = bracket_.hi - 1;
  const Key low = all.bound_near(wanted - size / 16, first, last, size / 32);
  const Key high = all.bound_near(wanted + size / 16, low, last, size / 32);
  return select_between(low, high, inside, rank);
}

template <typename Key>
void ThresholdSearch<Key>::resolve_among(std::span<const Key> keys,
                                         std::span<const size_t> task_begin) {
  const auto size = static_cast<double>(keys.size());
  const auto wanted = static_cast<double>(rank_);
  const RankFinder<Key> all(kernels(), keys);
  const Key guess = first_guess(keys);
  const Key low = all.bound_near_start(wanted - size / 16, guess, size / 32);
  const Key high = all.bound_near_start(wanted + size / 16, guess, size / 32);
  threshold_ = select_between(low, high, keys, rank_);
  uint64_t before = 0;
  for (size_t t = 0; t < task_begin.size(); ++t) {
    ties_before_[t] = before;
    if (t + 1 == task_begin.size()) break;
    const auto begin = keys.begin() + static_cast<ptrdiff_t>(task_begin[t]);
    const auto end = keys.begin() + static_cast<ptrdiff_t>(task_begin[t + 1]);
    before += static_cast<uint64_t>(std::count(begin, end, threshold_.key));
  }
  pass_ = Pass::kDone;
}

// The key of that rank among `keys`, which is known to lie in [low, high].
template <typename Key>
Threshold<Key> ThresholdSearch<Key>::select_between(Key low, Key high, std::span<const Key> keys,
                                                    uint64_t rank) const {
  constexpr double kExact = -1;  // no bound is that near, so the search ends at the key itself
  const NearKeys<Key> near = near_keys<Key>(kernels(), keys, low, high);
  const uint64_t below_low = kernels().count_below(keys.data(), keys.size(), low);
  const Key key = RankFinder<Key>(kernels(), near.keys)
                      .bound_near(static_cast<double>(rank - below_low), low, high, kExact);
  const uint64_t below = kernels().count_below(near.keys.begin(), near.keys.size(), key);
  return {key, rank - below_low - below + 1};
}

template <typename Key>
void ThresholdSearch<Key>::open_tasks(size_t first, size_t count) {
  first_open_ = first;
  open_.resize(count);
}

template <typename Key>
void ThresholdSearch<Key>::close_tasks() {
  if (pass_ == Pass::kCount) {
    close_order_.push_back({first_open_, open_.size()});
    for (size_t i = 0; i < open_.size(); ++i) {
      const auto& [counts, inside] = open_[i];
      sum_.below_lo += counts.below_lo;
      sum_.equal_lo += counts.equal_lo;
      sum_.equal_hi += counts.equal_hi;
      sum_.inside += counts.inside;
      closed_[first_open_ + i] = {static_cast<uint32_t>(counts.equal_lo),
                                  static_cast<uint32_t>(counts.equal_hi),
                                  static_cast<uint32_t>(inside.size())};
      inside_.append(inside);
    }
  }
  open_.clear();
}

template <typename Key>
void ThresholdSearch<Key>::show(size_t task, const Key* keys, size_t count) {
  if (pass_ == Pass::kHistogram) return show_to_histogram(keys, count);
  show_to_count(task, keys, (count + kernels::kKeysPerWord - 1) / kernels::kKeysPerWord);
}

template <typename Key>
void ThresholdSearch<Key>::show_to_count(size_t task, const Key* keys, size_t words) {
  constexpr size_t kPieceWords = 16;
  uint32_t indices[kPieceWords * kernels::kKeysPerWord + 4];
  Key found_keys[kPieceWords * kernels::kKeysPerWord + 4];
  OpenTask& state = open_[task - first_open_];
  for (size_t w = 0; w < words; w += kPieceWords) {
    const size_t found =
        kernels().count(keys + w * kernels::kKeysPerWord, std::min(kPieceWords, words - w),
                        bracket_, &state.counts, {indices, found_keys});
    // Past the limit keys are only counted: the count says where to look, and memory stays bounded.
    if (found == 0 || collected_.fetch_add(found) + found > collect_limit_) continue;
    state.inside.append({found_keys, found});
  }
  // Padding equals the upper end of a bracket without one.
  if (bracket_.hi == kernels::kPadKey<Key>) state.counts.equal_hi = 0;
}

template <typename Key>
void ThresholdSearch<Key>::show_to_histogram(const Key* keys, size_t count) {
  // Bins of its own for each call, so that threads meet at the lock once in so many keys.
  std::array<uint64_t, kBins> bins{};
  for (size_t i = 0; i < count; ++i) {
    if (keys[i] <= bracket_.lo || keys[i] >= bracket_.hi) continue;
    ++bins[static_cast<size_t>((keys[i] - bracket_.lo - 1) >> shift_)];
  }
  const std::scoped_lock lock(mutex_);
  for (size_t i = 0; i < kBins; ++i) bins_[i] += bins[i];
}

template <typename Key>
bool ThresholdSearch<Key>::end_pass() {
  if (--passes_left_ == 0) return false;
  if (pass_ == Pass::kHistogram) return end_histogram();
  end_count();
  return true;
}

template <typename Key>
void ThresholdSearch<Key>::end_count() {
  const kernels::BracketCounts& sum = sum_;
  const uint64_t not_above_lo = sum.below_lo + sum.equal_lo;
  // In the order of the keys: below lo, at lo, above hi, at hi, and inside, where most searches
  // end.
  const uint64_t below_hi = not_above_lo + sum.inside;
  if (rank_ < sum.below_lo) return narrow(-1, bracket_.lo, 0);
  if (rank_ < not_above_lo) return resolve({bracket_.lo, rank_ - sum.below_lo + 1});
  if (rank_ >= below_hi + sum.equal_hi) {
    return narrow(bracket_.hi, kernels::kPadKey<Key>, below_hi + sum.equal_hi);
  }
  if (rank_ >= below_hi) return resolve({bracket_.hi, rank_ - below_hi + 1});
  if (collected_.load() > collect_limit_) return narrow(bracket_.lo, bracket_.hi, not_above_lo);
  resolve(select_inside(inside_, rank_ - not_above_lo));
}

template <typename Key>
void ThresholdSearch<Key>::resolve(Threshold<Key> answer) {
  threshold_ = answer;
  if (answer.key == bracket_.lo || answer.key == bracket_.hi) {
    for (size_t t = 0; t < closed_.size(); ++t) {
      ties_before_[t] = answer.key == bracket_.lo ? closed_[t].equal_lo : closed_[t].equal_hi;
    }
  } else {
    count_ties_inside(answer.key);
  }
  uint64_t before = 0;
  for (uint64_t& ties : ties_before_) before += std::exchange(ties, before);
  closed_ = {};
  inside_ = ScratchVector<Key>();
  pass_ = Pass::kDone;
}

// Those of each task itself, into ties_before_.
template <typename Key>
void ThresholdSearch<Key>::count_ties_inside(Key key) {
  const Key* keys = inside_.begin();
  for (const auto& [first, count] : close_order_) {
    for (size_t t = first; t < first + count; ++t) {
      const Key* end = keys + closed_[t].inside;
      ties_before_[t] = static_cast<uint64_t>(std::count(keys, end, key));
      keys = end;
    }
  }
}

// The answer is known to lie strictly between lo and hi, with so many keys at or below lo.
template <typename Key>
void ThresholdSearch<Key>::narrow(Key lo, Key hi, uint64_t at_or_below_lo) {
  if (static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) == 2) {  // one key: it is the answer
    const Key only = lo + 1;
    bracket_ = {only, only, only};
    return start_count();
  }
  bracket_ = {lo, hi, hi};
  at_or_below_lo_ = at_or_below_lo;
  const auto width = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) - 1;
  shift_ = std::max(
      0, static_cast<int>(std::bit_width(width - 1)) - static_cast<int>(std::bit_width(kBins - 1)));
  bins_.fill(0);
  inside_ = ScratchVector<Key>();
  pass_ = Pass::kHistogram;
}

template <typename Key>
bool ThresholdSearch<Key>::end_histogram() {
  uint64_t below = at_or_below_lo_;
  size_t bin = 0;
  for (; bin < kBins && below + bins_[bin] <= rank_; ++bin) below += bins_[bin];
  if (bin == kBins) return false;  // fewer keys inside than an earlier pass counted
  const auto bin_begin = [&](size_t i) {
    const uint64_t key = static_cast<uint64_t>(bracket_.lo) + 1 + (uint64_t{i} << shift_);
    return static_cast<Key>(std::min(key, static_cast<uint64_t>(bracket_.hi)));
  };
  const Key first = bin_begin(bin), past = bin_begin(bin + 1);
  if (shift_ == 0) {
    bracket_ = {first, first, first};  // a bin is one key: it is the answer
    start_count();
  } else if (bins_[bin] <= collect_limit_) {
    bracket_ = {static_cast<Key>(first - 1), past, past};
    start_count();
  } else {
    narrow(first - 1, past, below);
  }
  return true;
}

template class ThresholdSearch<int32_t>;
template class ThresholdSearch<int64_t>;

}  // namespace winnow::core
