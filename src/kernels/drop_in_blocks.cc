// Which values are dropped inside blocks, if zeros_per_block is below the block's size.
//
//     drop_in_blocks(run, zeros, keep, mask, mask_stride, unresolved)
//
//     for each block b of the run whose bit in `keep` is 0:
//       bound = the key below which exactly `zeros` of the block's keys lie
//       if there is one:   mask byte of each value = key >= bound
//       else (ties):       all mask bytes = 1, and bit b of `unresolved` = 1
//     for each other block: all mask bytes = 1
//
// Reads the run's values, at any alignment, and the keep bits of its blocks. Writes the mask bytes
// of its blocks, those of the last group twice, and whole words of `unresolved`. Nothing that is
// written may overlap what is read. 0 < zeros < the block's size <= kMaxTile. Stack: two tiles, 64
// KiB, or 128 KiB for F64.
//
// Lanes are blocks (tile-inl.h). Three ways lead to the answer, by the block's shape: one row of
// four compares all pairs, which ranks every value; up to kMaxSortedTile keys are sorted; larger
// blocks search their bound.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/drop_in_blocks.cc"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "kernels/mask_bits-inl.h"
#include "kernels/tile-inl.h"
#include "kernels/tile_search-inl.h"
#include "kernels/tile_sort-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// What a kernel writes, and the bits that it reads.
struct Drop {
  const BlockRun& run;
  size_t zeros;
  const uint64_t* keep;
  uint8_t* mask;
  size_t mask_stride;
  uint64_t* unresolved;
};

template <class Format>
HWY_INLINE const typename Format::Element* block_at(const BlockRun& run, size_t b) {
  return static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
}

// The rows of a group are more streams than the hardware prefetches.
constexpr size_t kGroupsAhead = 4;
constexpr size_t kCacheLine = 64;  // bytes

template <class Format>
HWY_INLINE void prefetch_group(const BlockRun& run, size_t b, size_t lanes) {
  const auto* first = block_at<Format>(run, b);
  const size_t bytes = lanes * run.block_cols * sizeof(*first);
  for (size_t r = 0; r < run.block_rows; ++r) {
    const char* row = reinterpret_cast<const char*>(first + r * run.row_stride);
    for (size_t i = 0; i < bytes; i += kCacheLine) hwy::Prefetch(row + i);
  }
}

// Mask bytes of one row of the blocks of a group: 0 if the key is below its block's bound, which
// stands once for each of the `cols` values.
template <class Format, Norm kNorm, class DI>
HWY_INLINE void store_row(DI di, const typename Format::Element* row, size_t cols,
                          const hn::TFromD<DI>* bounds, uint8_t* mask) {
  const hn::Rebind<typename Format::Score, DI> d;
  const size_t lanes = hn::Lanes(di);
  for (size_t i = 0; i < cols; i += kKeysPerWord) {
    const size_t here = HWY_MIN(kKeysPerWord, cols - i);
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

// The blocks [b, b + lanes), one a lane.
template <class Format, Norm kNorm, size_t kCols, class DI>
void drop_in_group(DI di, const Drop& drop, size_t b) {
  using Key = hn::TFromD<DI>;
  const BlockRun& run = drop.run;
  const size_t lanes = hn::Lanes(di), size = run.block_rows * run.block_cols;
  HWY_ALIGN Key tile[kMaxTile * kMaxLanes];
  Key bounds[kMaxTile * kMaxLanes];
  load_tile<Format, kNorm, kCols>(di, run, b, tile);
  uint64_t ties = 0;
  const auto bound = size <= kMaxSortedTile
                         ? find_bounds_by_sorting(di, tile, size, drop.zeros, &ties)
                         : find_bounds_by_search(di, tile, size, drop.zeros, &ties);
  // No key is below 0: a block that is kept drops nothing, one with ties waits for the caller.
  const uint64_t kept = get_bits(drop.keep, b, lanes);
  set_bits(ties & ~kept, b, drop.unresolved);
  const auto spared = mask_of_bits(di, kept | ties);
  spread_bounds(di, hn::IfThenZeroElse(spared, bound), run.block_cols, bounds);
  const auto* first = block_at<Format>(run, b);
  for (size_t r = 0; r < run.block_rows; ++r) {
    store_row<Format, kNorm>(di, first + r * run.row_stride, lanes * run.block_cols, bounds,
                             drop.mask + r * drop.mask_stride + b * run.block_cols);
  }
}

template <class Format, Norm kNorm, size_t kCols, class Key>
void drop_in_tiles(const Drop& drop) {
  const hn::CappedTag<Key, kMaxLanes> di;
  const size_t lanes = hn::Lanes(di);
  // A group of whole vectors would read past the run, so its few blocks go one by one.
  if (drop.run.count < lanes) {
    const hn::CappedTag<Key, 1> d1;
    for (size_t b = 0; b < drop.run.count; ++b) {
      drop_in_group<Format, kNorm, 0>(d1, drop, b);
    }
    return;
  }
  for_each_group(drop.run.count, lanes, [&](size_t b) HWY_ATTR {
    prefetch_group<Format>(drop.run, b + kGroupsAhead * lanes, lanes);
    drop_in_group<Format, kNorm, kCols>(di, drop, b);
  });
}

#if HWY_TARGET != HWY_SCALAR
// Blocks of one row of four values, at least as many as a vector has lanes. The mask bytes of a
// group of blocks are one vector of 32-bit lanes.
template <class Format, Norm kNorm>
void drop_in_quads(const Drop& drop) {
  const hn::ScalableTag<int32_t> di;
  const hn::Rebind<float, decltype(di)> d;
  using V = hn::VFromD<decltype(di)>;
  const size_t lanes = hn::Lanes(di);
  const auto zeros = static_cast<int32_t>(drop.zeros);
  for_each_group(drop.run.count, lanes, [&](size_t b) HWY_ATTR {
    const auto* first = block_at<Format>(drop.run, b);
    V keys[4], x[4];
    for (size_t i = 0; i < 4; ++i) {
      keys[i] = key_of(d, score_of<kNorm>(Format::load_magnitude(d, first + i * lanes)));
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
      const auto kept = hn::Lt(rank, hn::Set(di, wins + 1 - zeros));
      return hn::IfThenElseZero(kept, hn::Set(di, static_cast<int32_t>(bit)));
    };
    const auto bytes = hn::Or(hn::Or(byte(ra, 0, 1u), byte(rb, 1, 1u << 8)),
                              hn::Or(byte(rc, 2, 1u << 16), byte(rd, 3, 1u << 24)));
    const auto whole = mask_of_bits(di, get_bits(drop.keep, b, lanes));
    hn::StoreU(hn::IfThenElse(whole, hn::Set(di, 0x01010101), bytes), di,
               reinterpret_cast<int32_t*>(drop.mask + b * 4));
  });
}
#endif

template <class Format, Norm kNorm, class Key>
void drop_in_blocks(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                    size_t mask_stride, uint64_t* unresolved) {
  std::memset(unresolved, 0, (run.count + 63) / 64 * sizeof(uint64_t));
  const Drop drop{run, zeros, keep, mask, mask_stride, unresolved};
#if HWY_TARGET != HWY_SCALAR
  // The mask of such a block is as wide as a 32-bit key, so F64 takes the general path.
  if constexpr (sizeof(Key) == 4) {
    const size_t lanes = hn::Lanes(hn::ScalableTag<Key>());
    if (run.block_rows == 1 && run.block_cols == 4 && run.count >= lanes) {
      return drop_in_quads<Format, kNorm>(drop);
    }
  }
#endif
  switch (run.block_cols) {
    case 1:
      return drop_in_tiles<Format, kNorm, 1, Key>(drop);
    case 4:
      return drop_in_tiles<Format, kNorm, 4, Key>(drop);
    case 8:
      return drop_in_tiles<Format, kNorm, 8, Key>(drop);
    default:  // deinterleave has no shuffle for such a width
      return drop_in_tiles<Format, kNorm, 0, Key>(drop);
  }
}

void fill_drop_in_blocks(KernelTable& table) {
  visit_kernels(table, []<class Format, Norm kNorm, class Key>(Format, NormConstant<kNorm>,
                                                               ValueKernels<Key>& kernels) {
    kernels.drop_in_blocks = drop_in_blocks<Format, kNorm, Key>;
  });
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_drop_kernels, fill_drop_in_blocks)
#endif
