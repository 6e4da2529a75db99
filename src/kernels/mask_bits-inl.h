// PRIVATE, per target. Masks of lanes as bits of words, and bits as mask bytes. Bit i of word w
// belongs to item 64 * w + i.
#if defined(WINNOW_KERNELS_MASK_BITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_KERNELS_MASK_BITS_INL_H_
#undef WINNOW_KERNELS_MASK_BITS_INL_H_
#else
#define WINNOW_KERNELS_MASK_BITS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/kernel_table.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The lanes of a mask as the low bits of a word.
template <class D, class M>
HWY_INLINE uint64_t mask_bits(D d, M mask) {
  uint64_t bits = 0;
  hn::StoreMaskBits(d, mask, reinterpret_cast<uint8_t*>(&bits));
  return bits;
}

// The low bits of a word as a mask of lanes. Highway reads only the bytes that the lanes need,
// which stand first on little-endian machines, the only ones that are compiled.
template <class D>
HWY_INLINE auto mask_of_bits(D d, uint64_t bits) {
  return hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&bits));
}

// mask(i) for the 64 / N groups of lanes, put together to one word; mask takes the first lane.
template <class D, class MaskFunction>
HWY_INLINE uint64_t word_of(D d, const MaskFunction& mask) {
#if HWY_TARGET == HWY_AVX3
  // Mask registers join faster than general registers shift and add.
  if constexpr (hn::MaxLanes(D()) == 16) {
    const __mmask32 low = _mm512_kunpackw(mask(16).raw, mask(0).raw);
    const __mmask32 high = _mm512_kunpackw(mask(48).raw, mask(32).raw);
    return _cvtmask64_u64(_mm512_kunpackd(high, low));
  }
#endif
  uint64_t word = 0;
#if HWY_TARGET != HWY_SCALAR && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  HWY_UNROLL(64)  // one by one, or instrumented, 64 steps would take GCC minutes
#endif
  for (size_t i = 0; i < kKeysPerWord; i += hn::Lanes(d)) word |= mask_bits(d, mask(i)) << i;
  return word;
}

// Bits [b, b + lanes) of `words`. The next word is read only if some of them are in it: it may be
// past the end.
HWY_INLINE uint64_t get_bits(const uint64_t* words, size_t b, size_t lanes) {
  uint64_t bits = words[b / 64] >> (b % 64);
  if (b % 64 + lanes > 64) bits |= words[b / 64 + 1] << (64 - b % 64);
  return lanes == 64 ? bits : bits & ((uint64_t{1} << lanes) - 1);
}

// Bits [b, b + 64) of `words` |= bits.
HWY_INLINE void set_bits(uint64_t bits, size_t b, uint64_t* words) {
  words[b / 64] |= bits << (b % 64);
  if (b % 64 != 0 && bits >> (64 - b % 64) != 0) words[b / 64 + 1] |= bits >> (64 - b % 64);
}

// store_mask_bytes in steps of kBytes from `begin` on while they fit into `count`;
// returns where it stopped.
template <size_t kBytes>
HWY_INLINE size_t store_mask_steps(uint64_t bits, size_t begin, size_t count, uint8_t* mask) {
  const hn::CappedTag<uint8_t, kBytes> d;
  const size_t lanes = hn::Lanes(d);
  for (; begin + lanes <= count; begin += lanes) {
    const auto kept = mask_of_bits(d, bits >> begin);
    hn::StoreU(hn::IfThenElseZero(kept, hn::Set(d, uint8_t{1})), d, mask + begin);
  }
  return begin;
}

// mask[i] = bit i of `bits`, for i in [0, count), count being at most 64.
HWY_INLINE void store_mask_bytes(uint64_t bits, size_t count, uint8_t* mask) {
  size_t done = store_mask_steps<64>(bits, 0, count, mask);
  done = store_mask_steps<16>(bits, done, count, mask);
  done = store_mask_steps<8>(bits, done, count, mask);
  for (; done < count; ++done) mask[done] = bits >> done & 1;
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // WINNOW_KERNELS_MASK_BITS_INL_H_
