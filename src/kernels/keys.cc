// Kernels over buffers of keys: which are kept, which are near the threshold, how many are below.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/keys.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// Appends the index of every set bit. Four are always written: with about one candidate in 64 keys
// a branch on "any" would be mispredicted half of the time. Writes up to 3 entries too many.
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

template <typename Key>
size_t classify(const Key* HWY_RESTRICT keys, size_t words, const Bracket<Key>& bracket,
                uint64_t* HWY_RESTRICT keep, uint32_t* HWY_RESTRICT candidates, uint64_t* kept) {
  const hn::ScalableTag<Key> d;
  const auto lo = hn::Set(d, bracket.lo);
  const auto threshold = hn::Set(d, bracket.threshold);
  const auto hi = hn::Set(d, bracket.hi);
  size_t found = 0;
  uint64_t keeps = 0;
  for (size_t w = 0; w < words; ++w) {
    const Key* group = keys + w * kKeysPerWord;
    const uint64_t above =
        ~word_of(d, [&](size_t i) { return hn::Lt(hn::LoadU(d, group + i), threshold); });
    const uint64_t inside = word_of(d, [&](size_t i) {
      const auto key = hn::LoadU(d, group + i);
      return hn::And(hn::Gt(key, lo), hn::Lt(key, hi));
    });
    keep[w] = above;
    keeps += hwy::PopCount(above);
    found = append_indices(inside, w * kKeysPerWord, candidates, found);
  }
  *kept += keeps;
  return found;
}

template <typename Key>
size_t count(const Key* HWY_RESTRICT keys, size_t words, const Bracket<Key>& bracket,
             BracketCounts* counts, uint32_t* HWY_RESTRICT candidates) {
  const hn::ScalableTag<Key> d;
  const auto lo = hn::Set(d, bracket.lo);
  const auto hi = hn::Set(d, bracket.hi);
  const bool one_bound = bracket.lo == bracket.hi;
  BracketCounts sums;
  size_t found = 0;
  for (size_t w = 0; w < words; ++w) {
    const Key* group = keys + w * kKeysPerWord;
    const auto load = [&](size_t i) { return hn::LoadU(d, group + i); };
    const uint64_t below_lo = word_of(d, [&](size_t i) { return hn::Lt(load(i), lo); });
    const uint64_t at_lo = word_of(d, [&](size_t i) { return hn::Eq(load(i), lo); });
    const uint64_t below_hi = word_of(d, [&](size_t i) { return hn::Lt(load(i), hi); });
    const uint64_t at_hi = word_of(d, [&](size_t i) { return hn::Eq(load(i), hi); });
    const uint64_t inside = below_hi & ~below_lo & ~at_lo;
    sums.below_lo += hwy::PopCount(below_lo);
    sums.equal_lo += hwy::PopCount(at_lo);
    sums.equal_hi += hwy::PopCount(at_hi);
    sums.inside += hwy::PopCount(inside);
    found = append_indices(inside, w * kKeysPerWord, candidates, found);
  }
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
    above[w] = word_of(d, [&](size_t i) { return hn::Gt(hn::LoadU(d, group + i), bound); });
    ties[w] = word_of(d, [&](size_t i) { return hn::Eq(hn::LoadU(d, group + i), bound); });
    tied += hwy::PopCount(ties[w]);
  }
  return tied;
}

template <typename Key>
size_t count_below(const Key* HWY_RESTRICT keys, size_t n, Key bound) {
  const hn::ScalableTag<Key> d;
  const auto limit = hn::Set(d, bound);
  const size_t lanes = hn::Lanes(d);
  size_t total = 0;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    HWY_UNROLL(4)
    for (size_t j = 0; j < 4; ++j) {
      total += hn::CountTrue(d, hn::Lt(hn::LoadU(d, keys + i + j * lanes), limit));
    }
  }
  for (; i < n; ++i) total += keys[i] < bound;
  return total;
}

template <typename Key>
KeyKernels<Key> key_kernels() {
  return {classify<Key>, count<Key>, compare<Key>, count_below<Key>};
}

void fill_keys(KernelTable& table) {
  table.keys32 = key_kernels<int32_t>();
  table.keys64 = key_kernels<int64_t>();
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_key_kernels, fill_keys)
#endif
