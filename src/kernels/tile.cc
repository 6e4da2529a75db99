// Which values fall inside blocks (zeros_per_block below the block's size): lanes are blocks, and a
// tile holds each block's keys in a column. Blocks of one row of four rank their values by
// comparing all pairs; all others find, by bisection, the bound below which exactly `zeros` keys
// lie.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/tile.cc"
#include "hwy/foreach_target.h"
//
#include <cstring>

#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// At least the lanes of every target's vectors of keys.
constexpr size_t kMaxLanes = 16;

template <class Format, int kNorm>
auto scalar_key(const typename Format::Element* row, size_t i) {
  return scalar_key_of(scalar_score_of<kNorm>(Format::magnitude(load_element(row, i))));
}

// Writes keep ? 1 : 0 for 64 values, bit i of `bits` being value i; `count` of them count.
HWY_INLINE void store_mask_bytes(uint64_t bits, size_t count, uint8_t* mask) {
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  const auto ones = hn::Set(d, uint8_t{1});
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const uint64_t low = bits >> i;
    const auto kept = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&low));
    hn::StoreU(hn::IfThenElseZero(kept, ones), d, mask + i);
  }
  for (; i < count; ++i) mask[i] = bits >> i & 1;
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

// For each lane the bound below which exactly `zeros` of its `size` keys lie; *ties gets the lanes
// where equal keys straddle that count and no such bound exists.
template <class DI, class V = hn::VFromD<DI>>
HWY_INLINE V find_bounds(DI di, const hn::TFromD<DI>* tile, size_t size, size_t zeros,
                         uint64_t* ties) {
  using Key = hn::TFromD<DI>;
  const size_t lanes = hn::Lanes(di);
  const auto wanted = hn::Set(di, static_cast<Key>(zeros));
  const auto one = hn::Set(di, Key{1});
  auto low = hn::Set(di, kPadKey<Key>);
  auto high = hn::Zero(di);
  for (size_t i = 0; i < size; ++i) {
    const auto keys = hn::Load(di, tile + i * lanes);
    low = hn::Min(low, keys);
    high = hn::Max(high, keys);
  }
  // Fewer than or exactly `zeros` keys are below `low`, more than `zeros` below `high`.
  high = hn::Add(high, one);
  auto solved = hn::MaskFromVec(hn::Zero(di));
  for (;;) {
    const auto open = hn::AndNot(solved, hn::Gt(hn::Sub(high, low), one));
    if (hn::AllFalse(di, open)) break;
    const auto middle = hn::Add(low, hn::ShiftRight<1>(hn::Sub(high, low)));
    auto below = hn::Zero(di);
    for (size_t i = 0; i < size; ++i) {
      // The sign of a difference of two keys, which cannot overflow, is -1 where the key is below.
      const auto difference = hn::Sub(hn::Load(di, tile + i * lanes), middle);
      below = hn::Sub(below, hn::ShiftRight<sizeof(Key) * 8 - 1>(difference));
    }
    const auto exact = hn::And(open, hn::Eq(below, wanted));
    const auto too_few = hn::Or(exact, hn::And(open, hn::Lt(below, wanted)));
    low = hn::IfThenElse(too_few, middle, low);
    high = hn::IfThenElse(hn::AndNot(too_few, open), middle, high);
    solved = hn::Or(solved, exact);
  }
  *ties = mask_bits(di, hn::Not(solved));
  return low;
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
      const auto keys = key_of(d, score_of<kNorm>(Format::load_magnitude(d, row + i + j)));
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
  HWY_ALIGN Key bound[kMaxLanes];
  hn::Store(find_bounds(di, tile, run.block_rows * run.block_cols, zeros, ties), di, bound);
  *ties &= ~keep;
  for (size_t l = 0; l < lanes; ++l) {
    // Nothing lies below 0: a block that is kept drops nothing, one with ties waits for the caller.
    const Key limit = (keep | *ties) >> l & 1 ? Key{0} : bound[l];
    for (size_t c = 0; c < run.block_cols; ++c) bounds[l * run.block_cols + c] = limit;
  }
  const auto* first = static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
  for (size_t r = 0; r < run.block_rows; ++r) {
    store_row<Format, kNorm>(di, first + r * run.row_stride, lanes * run.block_cols, bounds,
                             mask + r * mask_stride + b * run.block_cols);
  }
}

// keep bits [b, b + lanes).
HWY_INLINE uint64_t keep_bits(const uint64_t* keep, size_t b, size_t lanes) {
  uint64_t bits = keep[b / 64] >> (b % 64);
  if (b % 64 + lanes > 64) bits |= keep[b / 64 + 1] << (64 - b % 64);
  return lanes == 64 ? bits : bits & ((uint64_t{1} << lanes) - 1);
}

template <class Format, int kNorm, size_t kCols, class Key>
void drop_in_tiles(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                   size_t mask_stride, uint64_t* unresolved) {
  const hn::CappedTag<Key, kMaxLanes> di;
  const hn::CappedTag<Key, 1> d1;
  const size_t lanes = hn::Lanes(di);
  uint64_t ties = 0;
  size_t b = 0;
  for (; b + lanes <= run.count; b += lanes) {
    const uint64_t kept = keep_bits(keep, b, lanes);
    drop_in_group<Format, kNorm, kCols>(di, run, zeros, b, kept, mask, mask_stride, &ties);
    unresolved[b / 64] |= ties << (b % 64);  // b is a multiple of lanes, so ties stay in one word
  }
  for (; b < run.count; ++b) {
    const uint64_t kept = keep_bits(keep, b, 1);
    drop_in_group<Format, kNorm, 0>(d1, run, zeros, b, kept, mask, mask_stride, &ties);
    unresolved[b / 64] |= ties << (b % 64);
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
    // -1 where the later value is the smaller one.
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
    case 2:
      return drop_in_tiles<Format, kNorm, 2, Key>(run, zeros, keep, mask, mask_stride, unresolved);
    case 4:
#if HWY_TARGET != HWY_SCALAR
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

template <class Format, typename Key>
void fill_format(std::array<ValueKernels<Key>, 2>& kernels) {
  kernels[0].drop_in_blocks = drop_in_blocks<Format, 0, Key>;
  kernels[1].drop_in_blocks = drop_in_blocks<Format, 1, Key>;
}

void fill_tiles(KernelTable& table) {
  fill_format<FormatF32>(table.f32);
  fill_format<FormatF16>(table.f16);
  fill_format<FormatBF16>(table.bf16);
  fill_format<FormatF64>(table.f64);
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_tile_kernels, fill_tiles)
#endif
