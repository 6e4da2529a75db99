// Which values are dropped inside blocks (zeros_per_block below the block's size). Lanes are
// blocks: a tile holds the keys of as many blocks as a vector has lanes, each block in a column.
//
// A block is decided by its *bound*, the key below which exactly `zeros` of its keys lie:
//  - blocks of one row of four need none: all pairs are compared, which ranks every value;
//  - blocks of up to 64 keys are sorted by networks of min and max (find_bounds_by_sorting);
//  - larger ones, up to kMaxTile, search it by interpolation between counts, and by bisection in
//    every fifth round (find_bounds).
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/tile.cc"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// At least the lanes of every target's vectors of keys.
constexpr size_t kMaxLanes = 16;

template <class Format, int kNorm>
auto scalar_key(const typename Format::Element* row, size_t i) {
  return scalar_key_of(scalar_score_of(Format::magnitude(load_element(row, i)), kNorm));
}

// mask[i] = bit i of `bits`, in steps of kBytes from `begin` on while they fit into `count`;
// returns where it stopped.
template <size_t kBytes>
HWY_INLINE size_t store_mask_steps(uint64_t bits, size_t begin, size_t count, uint8_t* mask) {
  const hn::CappedTag<uint8_t, kBytes> d;
  const size_t lanes = hn::Lanes(d);
  for (; begin + lanes <= count; begin += lanes) {
    const uint64_t low = bits >> begin;
    const auto kept = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&low));
    hn::StoreU(hn::IfThenElseZero(kept, hn::Set(d, uint8_t{1})), d, mask + begin);
  }
  return begin;
}

HWY_INLINE void store_mask_bytes(uint64_t bits, size_t count, uint8_t* mask) {
  size_t done = store_mask_steps<64>(bits, 0, count, mask);
  done = store_mask_steps<16>(bits, done, count, mask);
  done = store_mask_steps<8>(bits, done, count, mask);
  for (; done < count; ++done) mask[done] = bits >> done & 1;
}

// The keys of `lanes` blocks from block b on, as a tile [block_rows * block_cols][lanes].
template <class Format, int kNorm, size_t kCols, class DI>
HWY_INLINE void load_tile(DI di, const BlockRun& run, size_t b, hn::TFromD<DI>* tile) {
  const hn::Rebind<typename Format::Score, DI> d;
  const size_t lanes = hn::Lanes(di);
  const auto* first = static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
  for (size_t r = 0; r < run.block_rows; ++r) {
    const auto* row = first + r * run.row_stride;
    if constexpr (kCols == 0) {
      // deinterleave takes powers of two alone; other widths are transposed key by key.
      for (size_t c = 0; c < run.block_cols; ++c) {
        for (size_t l = 0; l < lanes; ++l) {
          tile[(r * run.block_cols + c) * lanes + l] =
              scalar_key<Format, kNorm>(row, l * run.block_cols + c);
        }
      }
    } else {
      hn::VFromD<DI> keys[kCols], columns[kCols];
      for (size_t i = 0; i < kCols; ++i) {
        keys[i] = key_of(d, score_of<kNorm>(Format::load_magnitude(d, row + i * lanes)));
      }
      deinterleave<kCols>(di, keys, columns);
      for (size_t c = 0; c < kCols; ++c) {
        hn::Store(columns[c], di, tile + (r * kCols + c) * lanes);
      }
    }
  }
}

// How many of a tile's keys lie below `bound`, for each lane.
template <class DI, class V = hn::VFromD<DI>>
HWY_INLINE V count_in_tile(DI di, const hn::TFromD<DI>* tile, size_t size, V bound) {
  const size_t lanes = hn::Lanes(di);
  const auto less = [&](size_t i) HWY_ATTR {
    return hn::VecFromMask(di, hn::Lt(hn::Load(di, tile + i * lanes), bound));
  };
  // True is -1. Two sums, so that one addition need not wait for the other.
  auto even = hn::Zero(di), odd = hn::Zero(di);
  size_t i = 0;
  for (; i + 2 <= size; i += 2) {
    even = hn::Sub(even, less(i));
    odd = hn::Sub(odd, less(i + 1));
  }
  if (i < size) even = hn::Sub(even, less(i));
  return hn::Add(even, odd);
}

// Between low and high, where a straight line through the counts at both meets `wanted`; keys being
// the bits of floats, the line is drawn in the floats' values.
template <class DI, class V = hn::VFromD<DI>>
HWY_INLINE V interpolate(DI di, V low, V high, V low_count, V high_count, V wanted) {
  const hn::RebindToFloat<DI> df;
  const auto step = hn::ConvertTo(df, hn::Sub(wanted, low_count));
  const auto span = hn::ConvertTo(df, hn::Sub(high_count, low_count));
  const auto from = hn::BitCast(df, low), to = hn::BitCast(df, high);
  return hn::BitCast(di, hn::MulAdd(hn::Sub(to, from), hn::Div(step, span), from));
}

// For each lane the bound below which exactly `zeros` of its `size` keys lie; *ties gets the lanes
// where equal keys straddle that count and no such bound exists.
template <class DI, class V = hn::VFromD<DI>>
HWY_NOINLINE V find_bounds(DI di, const hn::TFromD<DI>* tile, size_t size, size_t zeros,
                           uint64_t* ties) {
  using Key = hn::TFromD<DI>;
  const hn::RebindToFloat<DI> df;
  using Score = hn::TFromD<decltype(df)>;
  const size_t lanes = hn::Lanes(di);
  const auto wanted = hn::Set(di, static_cast<Key>(zeros));
  const auto one = hn::Set(di, Key{1});
  auto sum = hn::Zero(df);
  auto high = hn::Zero(di);
  for (size_t i = 0; i < size; ++i) {
    const auto keys = hn::Load(di, tile + i * lanes);
    sum = hn::Add(sum, hn::BitCast(df, keys));
    high = hn::Max(high, keys);
  }
  // At most `zeros` keys are below `low`, more below `high`: the answer, if any, is in [low, high).
  auto low = hn::Zero(di), low_count = hn::Zero(di);
  auto high_count = hn::Set(di, static_cast<Key>(size));
  high = hn::Add(high, one);
  auto solved = hn::MaskFromVec(hn::Zero(di));
  // The first guess: of half-normal data the median is 0.85 times the mean.
  const auto scale = static_cast<Score>(1.7) * static_cast<Score>(zeros);
  auto middle = hn::BitCast(di, hn::Mul(sum, hn::Set(df, scale / static_cast<Score>(size * size))));
  for (size_t round = 1;; ++round) {
    middle = hn::Min(hn::Max(middle, hn::Add(low, one)), hn::Sub(high, one));
    const auto open = hn::AndNot(solved, hn::Gt(hn::Sub(high, low), one));
    if (hn::AllFalse(di, open)) break;
    const auto below = count_in_tile(di, tile, size, middle);
    const auto exact = hn::And(open, hn::Eq(below, wanted));
    const auto up = hn::And(open, hn::Lt(below, hn::Add(wanted, one)));
    const auto down = hn::AndNot(up, open);
    low = hn::IfThenElse(up, middle, low);
    low_count = hn::IfThenElse(up, below, low_count);
    high = hn::IfThenElse(down, middle, high);
    high_count = hn::IfThenElse(down, below, high_count);
    solved = hn::Or(solved, exact);
    // Interpolation is fast on most data; halving in every fifth round bounds the worst.
    middle = round % 5 == 4 ? hn::Add(low, hn::ShiftRight<1>(hn::Sub(high, low)))
                            : interpolate(di, low, high, low_count, high_count, wanted);
  }
  *ties = mask_bits(di, hn::Not(solved));
  return low;
}

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

// find_bounds for tiles of at most kMaxSortedTile keys, which it sorts; a fixed number of steps.
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

// Mask bytes of one row of `lanes` blocks: 0 where the key lies below its block's bound.
template <class Format, int kNorm, class DI>
HWY_INLINE void store_row(DI di, const typename Format::Element* row, size_t cols,
                          const hn::TFromD<DI>* bounds, uint8_t* mask) {
  const hn::Rebind<typename Format::Score, DI> d;
  const size_t lanes = hn::Lanes(di);
  for (size_t i = 0; i < cols; i += 64) {
    const size_t here = HWY_MIN(size_t{64}, cols - i);
    uint64_t dropped = 0;
    for (size_t j = 0; j < here; j += lanes) {
      // A NaN with a payload is above all bounds too, so its key needs no clamp here.
      const auto score = score_of<kNorm>(Format::load_magnitude(d, row + i + j));
      const auto keys = hn::BitCast(di, hn::Abs(score));
      dropped |= mask_bits(di, hn::Lt(keys, hn::LoadU(di, bounds + i + j))) << j;
    }
    store_mask_bytes(~dropped, here, mask + i);
  }
}

template <class Format, int kNorm, size_t kCols, class DI>
void drop_in_group(DI di, const BlockRun& run, size_t zeros, size_t b, uint64_t keep, uint8_t* mask,
                   size_t mask_stride, uint64_t* ties) {
  using Key = hn::TFromD<DI>;
  const size_t lanes = hn::Lanes(di);
  HWY_ALIGN Key tile[kMaxTile * kMaxLanes];
  Key bounds[kMaxTile * kMaxLanes];
  load_tile<Format, kNorm, kCols>(di, run, b, tile);
  const size_t size = run.block_rows * run.block_cols;
  auto bound = size <= kMaxSortedTile ? find_bounds_by_sorting(di, tile, size, zeros, ties)
                                      : find_bounds(di, tile, size, zeros, ties);
  // Nothing lies below 0: a block that is kept drops nothing, one with ties waits for the caller.
  *ties &= ~keep;
  const uint64_t spared = keep | *ties;
  const auto spare = hn::LoadMaskBits(di, reinterpret_cast<const uint8_t*>(&spared));
  bound = hn::IfThenZeroElse(spare, bound);
  if (run.block_cols == 1) {
    hn::StoreU(bound, di, bounds);
  } else {
    HWY_ALIGN Key bound_of[kMaxLanes];
    hn::Store(bound, di, bound_of);
    for (size_t l = 0; l < lanes; ++l) {
      std::fill_n(bounds + l * run.block_cols, run.block_cols, bound_of[l]);
    }
  }
  const auto* first = static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
  for (size_t r = 0; r < run.block_rows; ++r) {
    store_row<Format, kNorm>(di, first + r * run.row_stride, lanes * run.block_cols, bounds,
                             mask + r * mask_stride + b * run.block_cols);
  }
}

// keep bits [b, b + lanes). The next word is read only where some of them stand in it.
HWY_INLINE uint64_t keep_bits(const uint64_t* keep, size_t b, size_t lanes) {
  uint64_t bits = keep[b / 64] >> (b % 64);
  if (b % 64 + lanes > 64) bits |= keep[b / 64 + 1] << (64 - b % 64);
  return lanes == 64 ? bits : bits & ((uint64_t{1} << lanes) - 1);
}

// Bits [b, b + 64) of `words` |= bits.
HWY_INLINE void set_bits(uint64_t bits, size_t b, uint64_t* words) {
  words[b / 64] |= bits << (b % 64);
  if (b % 64 != 0 && bits >> (64 - b % 64) != 0) words[b / 64 + 1] |= bits >> (64 - b % 64);
}

// The rows of a group are more streams than the hardware prefetches.
constexpr size_t kGroupsAhead = 4;

template <class Format>
HWY_INLINE void prefetch_group(const BlockRun& run, size_t b, size_t lanes) {
  const auto* first = static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
  const size_t bytes = lanes * run.block_cols * sizeof(*first);
  for (size_t r = 0; r < run.block_rows; ++r) {
    const char* row = reinterpret_cast<const char*>(first + r * run.row_stride);
    for (size_t i = 0; i < bytes; i += 64) hwy::Prefetch(row + i);
  }
}

template <class Format, int kNorm, size_t kCols, class Key>
void drop_in_tiles(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                   size_t mask_stride, uint64_t* unresolved) {
  const hn::CappedTag<Key, kMaxLanes> di;
  const hn::CappedTag<Key, 1> d1;
  const size_t lanes = hn::Lanes(di);
  uint64_t ties = 0;
  // A group of whole vectors would read past the run, so its few blocks go one by one.
  if (run.count < lanes) {
    for (size_t b = 0; b < run.count; ++b) {
      const uint64_t kept = keep_bits(keep, b, 1);
      drop_in_group<Format, kNorm, 0>(d1, run, zeros, b, kept, mask, mask_stride, &ties);
      set_bits(ties, b, unresolved);
    }
    return;
  }
  for (size_t b = 0;;) {
    prefetch_group<Format>(run, b + kGroupsAhead * lanes, lanes);
    const uint64_t kept = keep_bits(keep, b, lanes);
    drop_in_group<Format, kNorm, kCols>(di, run, zeros, b, kept, mask, mask_stride, &ties);
    set_bits(ties, b, unresolved);
    if (b + lanes == run.count) return;
    b = HWY_MIN(b + lanes, run.count - lanes);  // the last group overlaps the one before
  }
}

#if HWY_TARGET != HWY_SCALAR
// Blocks of one row of four values, at least as many as a vector has lanes. The mask bytes of a
// group of blocks are one vector of 32-bit lanes.
template <class Format, int kNorm>
void drop_in_quads(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask) {
  const hn::ScalableTag<int32_t> di;
  const hn::Rebind<float, decltype(di)> d;
  using V = hn::VFromD<decltype(di)>;
  const size_t lanes = hn::Lanes(di);
  const auto* first = static_cast<const typename Format::Element*>(run.first);
  for (size_t b = 0;;) {
    V keys[4], x[4];
    for (size_t i = 0; i < 4; ++i) {
      const auto* p = first + b * 4 + i * lanes;
      keys[i] = key_of(d, score_of<kNorm>(Format::load_magnitude(d, p)));
    }
    deinterleave<4>(di, keys, x);
    // -1 where the later value is the smaller one. Keys are not negative, so no difference
    // overflows; ties go to the earlier value, as the rule says.
    const auto later_wins = [&](size_t late, size_t early) {
      return hn::ShiftRight<31>(hn::Sub(x[late], x[early]));
    };
    const V ba = later_wins(1, 0), ca = later_wins(2, 0), da = later_wins(3, 0);
    const V cb = later_wins(2, 1), db = later_wins(3, 1), dc = later_wins(3, 2);
    // Minus the rank of each value in its block, plus the pairs that it wins when equal.
    const V ra = hn::Add(hn::Add(ba, ca), da);
    const V rb = hn::Sub(hn::Add(cb, db), ba);
    const V rc = hn::Sub(dc, hn::Add(ca, cb));
    const V rd = hn::Sub(hn::Zero(di), hn::Add(hn::Add(da, db), dc));
    const auto byte = [&](V rank, int32_t wins, uint32_t bit) {
      const auto kept = hn::Lt(rank, hn::Set(di, wins + 1 - static_cast<int32_t>(zeros)));
      return hn::IfThenElseZero(kept, hn::Set(di, static_cast<int32_t>(bit)));
    };
    const auto bytes = hn::Or(hn::Or(byte(ra, 0, 1u), byte(rb, 1, 1u << 8)),
                              hn::Or(byte(rc, 2, 1u << 16), byte(rd, 3, 1u << 24)));
    const uint64_t kept = keep_bits(keep, b, lanes);
    const auto whole = hn::LoadMaskBits(di, reinterpret_cast<const uint8_t*>(&kept));
    hn::StoreU(hn::IfThenElse(whole, hn::Set(di, 0x01010101), bytes), di,
               reinterpret_cast<int32_t*>(mask + b * 4));
    if (b + lanes == run.count) return;
    b = HWY_MIN(b + lanes, run.count - lanes);  // the last group overlaps the one before
  }
}
#endif

template <class Format, int kNorm, class Key>
void drop_in_blocks(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                    size_t mask_stride, uint64_t* unresolved) {
  std::memset(unresolved, 0, (run.count + 63) / 64 * sizeof(uint64_t));
  switch (run.block_cols) {
    case 1:
      return drop_in_tiles<Format, kNorm, 1, Key>(run, zeros, keep, mask, mask_stride, unresolved);
    case 4:
#if HWY_TARGET != HWY_SCALAR
      // The mask of a block is as wide as a 32-bit key, so F64 takes the general path.
      if constexpr (sizeof(Key) == 4) {
        if (run.block_rows == 1 && run.count >= hn::Lanes(hn::ScalableTag<Key>())) {
          return drop_in_quads<Format, kNorm>(run, zeros, keep, mask);
        }
      }
#endif
      return drop_in_tiles<Format, kNorm, 4, Key>(run, zeros, keep, mask, mask_stride, unresolved);
    case 8:
      return drop_in_tiles<Format, kNorm, 8, Key>(run, zeros, keep, mask, mask_stride, unresolved);
    default:
      return drop_in_tiles<Format, kNorm, 0, Key>(run, zeros, keep, mask, mask_stride, unresolved);
  }
}

void fill_tiles(KernelTable& table) {
  visit_formats(table,
                []<class Format, class Key>(Format, std::array<ValueKernels<Key>, 2>& by_norm) {
                  by_norm[0].drop_in_blocks = drop_in_blocks<Format, 0, Key>;
                  by_norm[1].drop_in_blocks = drop_in_blocks<Format, 1, Key>;
                });
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_tile_kernels, fill_tiles)
#endif
