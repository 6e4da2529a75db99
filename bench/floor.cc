#include "floor.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "floor.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The lanes that are at least `threshold`, as 64 bits.
template <class D>
HWY_INLINE uint64_t kept_bits(D d, const float* HWY_RESTRICT values, hn::Vec<D> threshold) {
  uint64_t word = 0;
  for (size_t i = 0; i < 64; i += hn::Lanes(d)) {
    uint64_t bits = 0;
    hn::StoreMaskBits(d, hn::Ge(hn::Abs(hn::LoadU(d, values + i)), threshold),
                      reinterpret_cast<uint8_t*>(&bits));
    word |= bits << i;
  }
  return word;
}

template <bool kStreaming>
void floor_loop(const float* HWY_RESTRICT values, size_t count, uint8_t* HWY_RESTRICT mask) {
  const hn::ScalableTag<float> d;
  const hn::ScalableTag<uint8_t> d8;
  const auto threshold = hn::Set(d, 0.6745f);
  const auto ones = hn::Set(d8, uint8_t{1});
  for (size_t i = 0; i + 64 <= count; i += 64) {
    const uint64_t bits = kept_bits(d, values + i, threshold);
    for (size_t j = 0; j < 64; j += hn::Lanes(d8)) {
      const uint64_t low = bits >> j;
      const auto kept = hn::LoadMaskBits(d8, reinterpret_cast<const uint8_t*>(&low));
      const auto bytes = hn::IfThenElseZero(kept, ones);
      if (kStreaming) {
        hn::Stream(bytes, d8, mask + i + j);
      } else {
        hn::StoreU(bytes, d8, mask + i + j);
      }
    }
  }
  if (kStreaming) hwy::FlushStream();
}

void floor_plain(const float* values, size_t count, uint8_t* mask) {
  floor_loop<false>(values, count, mask);
}
void floor_streaming(const float* values, size_t count, uint8_t* mask) {
  floor_loop<true>(values, count, mask);
}

}  // namespace winnow::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace winnow::bench {
HWY_EXPORT(floor_plain);
HWY_EXPORT(floor_streaming);

void floor(const float* values, size_t count, uint8_t* mask, bool streaming) {
  if (streaming) {
    HWY_DYNAMIC_DISPATCH(floor_streaming)(values, count, mask);
  } else {
    HWY_DYNAMIC_DISPATCH(floor_plain)(values, count, mask);
  }
}

}  // namespace winnow::bench
#endif
