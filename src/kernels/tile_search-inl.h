// PRIVATE, per target. Finds the bound of each block of a tile, the key below which exactly `zeros`
// of its keys lie, by interpolation between counts: for tiles that are too large to sort.
#if defined(WINNOW_KERNELS_TILE_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_KERNELS_TILE_SEARCH_INL_H_
#undef WINNOW_KERNELS_TILE_SEARCH_INL_H_
#else
#define WINNOW_KERNELS_TILE_SEARCH_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

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
HWY_NOINLINE V find_bounds_by_search(DI di, const hn::TFromD<DI>* tile, size_t size, size_t zeros,
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

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // WINNOW_KERNELS_TILE_SEARCH_INL_H_
