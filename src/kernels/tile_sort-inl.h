// PRIVATE, per target. Finds the bound of each block of a tile, the key below which exactly `zeros`
// of its keys lie, by sorting the tile: a network of min and max, the same steps for all data.
#if defined(WINNOW_KERNELS_TILE_SORT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_KERNELS_TILE_SORT_INL_H_
#undef WINNOW_KERNELS_TILE_SORT_INL_H_
#else
#define WINNOW_KERNELS_TILE_SORT_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// Batcher's odd-even merge of x[kFirst + i * kStep], the two halves of which are sorted, and the
// sort that is made of it; unrolled, all in registers.
template <size_t kFirst, size_t kCount, size_t kStep, class V>
HWY_INLINE void merge_halves(V* x) {
  const auto exchange = [&](size_t i, size_t j) HWY_ATTR {
    const V low = hn::Min(x[i], x[j]);
    x[j] = hn::Max(x[i], x[j]);
    x[i] = low;
  };
  if constexpr (2 * kStep < kCount) {
    merge_halves<kFirst, kCount, 2 * kStep>(x);
    merge_halves<kFirst + kStep, kCount, 2 * kStep>(x);
    HWY_UNROLL(16)
    for (size_t i = kFirst + kStep; i + kStep < kFirst + kCount; i += 2 * kStep) {
      exchange(i, i + kStep);
    }
  } else {
    exchange(kFirst, kFirst + kStep);
  }
}

template <size_t kFirst, size_t kCount, class V>
HWY_INLINE void sort_registers(V* x) {
  if constexpr (kCount > 1) {
    sort_registers<kFirst, kCount / 2>(x);
    sort_registers<kFirst + kCount / 2, kCount / 2>(x);
    merge_halves<kFirst, kCount, 1>(x);
  }
}

constexpr size_t kSortedRun = 16;      // keys of a lane that are sorted in registers
constexpr size_t kMaxSortedTile = 64;  // larger tiles are searched instead

template <size_t kCount, bool kSort, class DI>
HWY_INLINE void sort_run(DI di, hn::TFromD<DI>* tile) {
  const size_t lanes = hn::Lanes(di);
  hn::VFromD<DI> x[kCount];
  for (size_t i = 0; i < kCount; ++i) x[i] = hn::Load(di, tile + i * lanes);
  if constexpr (kSort) {
    sort_registers<0, kCount>(x);
  } else {
    merge_halves<0, kCount, 1>(x);
  }
  for (size_t i = 0; i < kCount; ++i) hn::Store(x[i], di, tile + i * lanes);
}

// The key of rank `rank` (from 0) of two sorted runs of `size` that follow each other: the largest,
// over i + j = rank, of the smaller of a[i] and b[j].
template <class DI, class V = hn::VFromD<DI>>
HWY_INLINE V key_of_two_runs(DI di, const hn::TFromD<DI>* tile, size_t size, size_t rank) {
  const size_t lanes = hn::Lanes(di);
  const auto* other = tile + size * lanes;
  auto result = hn::Zero(di);
  if (rank >= size) {
    result = hn::Max(hn::Load(di, tile + (rank - size) * lanes),
                     hn::Load(di, other + (rank - size) * lanes));
  }
  for (size_t i = rank < size ? 0 : rank - size + 1; i < HWY_MIN(rank + 1, size); ++i) {
    const auto smaller =
        hn::Min(hn::Load(di, tile + i * lanes), hn::Load(di, other + (rank - i) * lanes));
    result = hn::Max(result, smaller);
  }
  return result;
}

// find_bounds_by_search for tiles of at most kMaxSortedTile keys, which it sorts; a fixed number of
// steps.
template <class DI, class V = hn::VFromD<DI>>
HWY_NOINLINE V find_bounds_by_sorting(DI di, hn::TFromD<DI>* tile, size_t size, size_t zeros,
                                      uint64_t* ties) {
  const size_t lanes = hn::Lanes(di);
  const size_t padded = size <= kSortedRun       ? kSortedRun
                        : size <= 2 * kSortedRun ? 2 * kSortedRun
                                                 : kMaxSortedTile;
  const auto pad = hn::Set(di, kPadKey<hn::TFromD<DI>>);
  for (size_t i = size; i < padded; ++i) hn::Store(pad, di, tile + i * lanes);
  for (size_t i = 0; i < padded; i += kSortedRun) {
    sort_run<kSortedRun, true>(di, tile + i * lanes);
  }
  const auto key_of_rank = [&](size_t rank) HWY_ATTR {
    if (padded == kSortedRun) return hn::Load(di, tile + rank * lanes);
    return key_of_two_runs(di, tile, padded / 2, rank);
  };
  if (padded == kMaxSortedTile) {
    sort_run<2 * kSortedRun, false>(di, tile);
    sort_run<2 * kSortedRun, false>(di, tile + 2 * kSortedRun * lanes);
  }
  const auto bound = key_of_rank(zeros);
  *ties = mask_bits(di, hn::Eq(bound, key_of_rank(zeros - 1)));
  return bound;
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // WINNOW_KERNELS_TILE_SORT_INL_H_
