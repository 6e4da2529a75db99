// Kernels over buffers of keys: which are kept, which are near the threshold, how many are below.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/keys.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// Appends the index of every set bit. Four are always written: with about one candidate in 64 keys
// a branch on "any" would be mispredicted half of the time. Writes up to 4 entries too many.
HWY_INLINE size_t append_indices(uint64_t bits, size_t first, uint32_t* out, size_t at) {
  const size_t count = hwy::PopCount(bits);
  for (size_t done = 0; done < HWY_MAX(count, size_t{4}); done += 4) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i) {
      out[at + done + i] = static_cast<uint32_t>(first + std::countr_zero(bits));
      bits &= bits - 1;
    }
  }
  return at + count;
}

// Keys that stand in memory.
template <typename Key>
struct StoredKeys {
  static constexpr bool kHasPadding = true;
  const Key* keys;

  template <class D>
  HWY_INLINE hn::VFromD<D> load(D d, size_t i) const {
    return hn::LoadU(d, keys + i);
  }
  Key at(size_t i) const { return keys[i]; }
};

// Keys that are made of values: one for each block of a row of kCols.
template <class Format, Norm kNorm, size_t kCols>
struct ValueKeys {
  static constexpr bool kHasPadding = false;
  const typename Format::Element* values;

  template <class DI>
  HWY_INLINE hn::VFromD<DI> load(DI, size_t i) const {
    // Without the clamp of NaN, whose payload only makes the key larger: no bound stands above
    // kNanKey but the open end, which classify_source gives every key.
    const hn::Rebind<typename Format::Score, DI> d;
    return hn::BitCast(DI(), hn::Abs(mean_of_row<Format, kNorm, kCols>(d, values + i * kCols)));
  }

  auto at(size_t i) const {
    typename Format::Score sum = 0;
    // Divides where `load` multiplies: for a power of two both give the same number.
    for (size_t c = 0; c < kCols; ++c) {
      sum += scalar_score_of(Format::magnitude(load_element(values, i * kCols + c)), kNorm);
    }
    return scalar_key_of(sum / kCols);
  }
};

template <typename Key, class Source>
HWY_INLINE size_t classify_source(const Source& source, size_t words, const Bracket<Key>& bracket,
                                  uint64_t* HWY_RESTRICT keep, const CandidateSink<Key>& candidates,
                                  uint64_t* kept) {
  const hn::ScalableTag<Key> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const auto threshold = hn::Set(d, bracket.threshold);
  // lo < key < hi as one unsigned comparison. An open end takes in all keys from lo on, whatever
  // their bits; stored keys keep it below their padding.
  using Width = hn::TFromD<decltype(du)>;
  const auto first = hn::Set(d, static_cast<Key>(bracket.lo + 1));
  const bool open = bracket.hi == kPadKey<Key> && !Source::kHasPadding;
  const Width top = open ? Width{1} << (8 * sizeof(Key) - 1) : static_cast<Width>(bracket.hi);
  const auto width = hn::Set(du, static_cast<Width>(top - (open ? 0 : bracket.lo + 1)));
  size_t found = 0;
  uint64_t keeps = 0;
  for (size_t w = 0; w < words; ++w) {
    const size_t group = w * kKeysPerWord;
    const uint64_t below =
        word_of(d, [&](size_t i) HWY_ATTR { return hn::Lt(source.load(d, group + i), threshold); });
    const uint64_t inside = word_of(du, [&](size_t i) HWY_ATTR {
      return hn::Lt(hn::BitCast(du, hn::Sub(source.load(d, group + i), first)), width);
    });
    keep[w] = ~below;
    keeps += hwy::PopCount(~below);
    found = append_indices(inside, group, candidates.indices, found);
  }
  for (size_t i = 0; i < found; ++i) candidates.keys[i] = source.at(candidates.indices[i]);
  *kept += keeps;
  return found;
}

template <typename Key>
size_t classify(const Key* keys, size_t words, const Bracket<Key>& bracket, uint64_t* keep,
                const CandidateSink<Key>& candidates, uint64_t* kept) {
  return classify_source(StoredKeys<Key>{keys}, words, bracket, keep, candidates, kept);
}

template <class Format, Norm kNorm, typename Key>
size_t classify_values(const void* values, size_t block_cols, size_t words,
                       const Bracket<Key>& bracket, uint64_t* keep,
                       const CandidateSink<Key>& candidates, uint64_t* kept) {
  const auto* first = static_cast<const typename Format::Element*>(values);
  const auto run = [&](auto source) {
    return classify_source(source, words, bracket, keep, candidates, kept);
  };
  if (block_cols == 1) return run(ValueKeys<Format, kNorm, 1>{first});
  return run(ValueKeys<Format, kNorm, 4>{first});
}

template <typename Key>
size_t count(const Key* HWY_RESTRICT keys, size_t words, const Bracket<Key>& bracket,
             BracketCounts* counts, const CandidateSink<Key>& candidates) {
  // Padding is above every key, so it counts only as equal to an open end; callers take that off.
  const hn::ScalableTag<Key> d;
  const auto lo = hn::Set(d, bracket.lo);
  const auto hi = hn::Set(d, bracket.hi);
  const bool one_bound = bracket.lo == bracket.hi;
  BracketCounts sums;
  size_t found = 0;
  for (size_t w = 0; w < words; ++w) {
    const Key* group = keys + w * kKeysPerWord;
    const auto load = [&](size_t i) HWY_ATTR { return hn::LoadU(d, group + i); };
    const uint64_t below_lo = word_of(d, [&](size_t i) HWY_ATTR { return hn::Lt(load(i), lo); });
    const uint64_t at_lo = word_of(d, [&](size_t i) HWY_ATTR { return hn::Eq(load(i), lo); });
    const uint64_t below_hi = word_of(d, [&](size_t i) HWY_ATTR { return hn::Lt(load(i), hi); });
    const uint64_t at_hi = word_of(d, [&](size_t i) HWY_ATTR { return hn::Eq(load(i), hi); });
    const uint64_t inside = below_hi & ~below_lo & ~at_lo;
    sums.below_lo += hwy::PopCount(below_lo);
    sums.equal_lo += hwy::PopCount(at_lo);
    sums.equal_hi += hwy::PopCount(at_hi);
    sums.inside += hwy::PopCount(inside);
    found = append_indices(inside, w * kKeysPerWord, candidates.indices, found);
  }
  for (size_t i = 0; i < found; ++i) candidates.keys[i] = keys[candidates.indices[i]];
  // Where both ends are one key, the keys equal to it were found at `lo` already.
  counts->below_lo += sums.below_lo;
  counts->equal_lo += sums.equal_lo;
  counts->equal_hi += one_bound ? 0 : sums.equal_hi;
  counts->inside += sums.inside;
  return found;
}

template <typename Key>
size_t compare(const Key* HWY_RESTRICT keys, size_t words, Key threshold,
               uint64_t* HWY_RESTRICT above, uint64_t* HWY_RESTRICT ties) {
  const hn::ScalableTag<Key> d;
  const auto bound = hn::Set(d, threshold);
  size_t tied = 0;
  for (size_t w = 0; w < words; ++w) {
    const Key* group = keys + w * kKeysPerWord;
    above[w] =
        word_of(d, [&](size_t i) HWY_ATTR { return hn::Gt(hn::LoadU(d, group + i), bound); });
    ties[w] = word_of(d, [&](size_t i) HWY_ATTR { return hn::Eq(hn::LoadU(d, group + i), bound); });
    tied += hwy::PopCount(ties[w]);
  }
  return tied;
}

template <typename Key>
size_t count_below(const Key* HWY_RESTRICT keys, size_t n, Key bound) {
  const hn::ScalableTag<Key> d;
  const auto limit = hn::Set(d, bound);
  const size_t lanes = hn::Lanes(d);
  // Masks are -1 where true; two sums hide the latency of each other.
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::Add(sum0, hn::VecFromMask(d, hn::Lt(hn::LoadU(d, keys + i), limit)));
    sum1 = hn::Add(sum1, hn::VecFromMask(d, hn::Lt(hn::LoadU(d, keys + i + lanes), limit)));
  }
  const auto sum = hn::SumOfLanes(d, hn::Add(sum0, sum1));
  size_t total = static_cast<size_t>(-static_cast<int64_t>(hn::GetLane(sum)));
  for (; i < n; ++i) total += keys[i] < bound;
  return total;
}

template <typename Key>
KeyKernels<Key> key_kernels() {
  return {classify<Key>, count<Key>, compare<Key>, count_below<Key>};
}

void fill_keys(KernelTable& table) {
  visit_kernels(table, []<class Format, Norm kNorm, class Key>(Format, NormConstant<kNorm>,
                                                               ValueKernels<Key>& kernels) {
    kernels.classify_values = classify_values<Format, kNorm, Key>;
  });
  table.keys32 = key_kernels<int32_t>();
  table.keys64 = key_kernels<int64_t>();
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_key_kernels, fill_keys)
#endif
