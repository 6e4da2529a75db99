// Floats out of their parts: a byte of each, the head, and planes of the other bits, the tail.
//
//     head   exponent: the bits above the tail's, without the sign
//            window: 2 bits that choose one of three exponents, or 0, and the top 6 of the mantissa
//     tail   the low bits of the mantissa, and the sign above them
//
// 64 floats at a time, because the planes of a few bits stand in blocks of so many.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/join_floats.cc"
#include "hwy/foreach_target.h"
//
#include <cstring>

#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

constexpr size_t kFloatsAtOnce = 64;
constexpr unsigned kWindowHeadBits = 6;

// Adds a plane of kWidth bits to the bytes of 64 numbers, from bit `shift` on. Eight bytes at a
// time: equal shifts give neighbours.
template <unsigned kWidth>
HWY_INLINE void add_narrow_plane(const uint8_t* plane, unsigned shift, uint64_t* numbers) {
  constexpr uint64_t kLow = 0x0101010101010101u * ((1u << kWidth) - 1);
  for (size_t q = 0; q < kWidth; ++q) {
    uint64_t packed;
    std::memcpy(&packed, plane + q * sizeof(packed), sizeof(packed));
    for (size_t k = 0; k < 8 / kWidth; ++k) {
      numbers[k * kWidth + q] |= (packed >> (k * kWidth) & kLow) << shift;
    }
  }
}

// Where the planes of the 64 floats of a block stand.
struct TailBlock {
  const uint16_t* words = nullptr;  // bits 0 to 15, if tails have so many
  const uint8_t* bytes = nullptr;   // the bits above, or all
};

// The planes of block `b`. Those of less than 8 bits are put together in `narrow`.
HWY_INLINE TailBlock tail_block(const FloatParts& parts, size_t b, uint64_t* narrow) {
  TailBlock block;
  unsigned left = parts.tail_bits;
  const uint8_t* const* plane = parts.planes;
  if (left >= 16) {
    block.words = reinterpret_cast<const uint16_t*>(*plane++) + b * kFloatsAtOnce;
    left -= 16;
  }
  if (left == 8) {
    block.bytes = *plane + b * kFloatsAtOnce;
    return block;
  }
  std::memset(narrow, 0, kFloatsAtOnce);
  if (left & 4) add_narrow_plane<4>(*plane++ + b * 32, 0, narrow);
  if (left & 2) add_narrow_plane<2>(*plane++ + b * 16, left & 4, narrow);
  if (left & 1) add_narrow_plane<1>(*plane + b * 8, left & 6, narrow);
  block.bytes = reinterpret_cast<const uint8_t*>(narrow);
  return block;
}

// The reverse of load-inl.h's `load`.
template <class D>
HWY_INLINE void store(hn::VFromD<D> v, D d, uint8_t* to) {
  using T = hn::TFromD<D>;
  if constexpr (hn::MaxLanes(D()) == 1) {
    const T value = hn::GetLane(v);
    std::memcpy(to, &value, sizeof(value));
  } else {
    hn::StoreU(v, d, reinterpret_cast<T*>(to));
  }
}

template <typename Bits, bool kWindow>
class Joiner {
 public:
  explicit Joiner(const FloatParts& parts)
      : parts_(parts), top_(static_cast<int>(parts.tail_bits) - 1) {}

  // The 64 floats of a block from their heads and planes, at any alignment.
  HWY_INLINE void join(const uint8_t* heads, const TailBlock& tails, uint8_t* out) const {
    const hn::ScalableTag<Bits> d;
    const hn::Rebind<uint8_t, decltype(d)> d8;
    constexpr int kSign = 8 * sizeof(Bits) - 1;
    const auto sign = hn::Set(d, static_cast<Bits>(Bits{1} << kSign));
    const auto low = hn::Set(d, static_cast<Bits>((Bits{1} << top_) - 1));
    for (size_t j = 0; j < kFloatsAtOnce; j += hn::Lanes(d)) {
      auto tail = hn::PromoteTo(d, load(d8, tails.bytes + j));
      if constexpr (sizeof(Bits) == 4) {
        const hn::Rebind<uint16_t, decltype(d)> d16;
        const auto words = hn::PromoteTo(d, load(d16, tails.words + j));
        tail = hn::Or(hn::ShiftLeft<16>(tail), words);
      }
      const auto sign_bit = hn::And(hn::ShiftLeftSame(tail, kSign - top_), sign);
      const auto head = from_head(d, hn::PromoteTo(d, load(d8, heads + j)));
      const auto floats = hn::Or(hn::Or(head, sign_bit), hn::And(tail, low));
      store(floats, d, out + j * sizeof(Bits));
    }
  }

 private:
  // What a float has from its head.
  template <class D, class V>
  HWY_INLINE V from_head(D d, V head) const {
    if constexpr (kWindow) {
      const auto number = hn::ShiftRight<kWindowHeadBits>(head);
      const auto exponent = [&](Bits c) HWY_ATTR {
        const auto bits = hn::Set(d, static_cast<Bits>(parts_.exponents[c] << mantissa_bits()));
        return hn::IfThenElseZero(hn::Eq(number, hn::Set(d, c)), bits);
      };
      const auto mantissa = hn::And(head, hn::Set(d, (1u << kWindowHeadBits) - 1));
      return hn::Or(hn::Or(exponent(0), exponent(1)),
                    hn::Or(exponent(2), hn::ShiftLeftSame(mantissa, top_)));
    } else {
      return hn::ShiftLeftSame(head, top_);
    }
  }
  int mantissa_bits() const { return top_ + static_cast<int>(kWindowHeadBits); }

  const FloatParts& parts_;
  int top_;  // the bit of a tail that is the sign
};

template <typename Bits, bool kWindow>
void join_as(const FloatParts& parts, size_t count, uint8_t* out) {
  const Joiner<Bits, kWindow> joiner(parts);
  HWY_ALIGN uint64_t narrow[kFloatsAtOnce / 8];
  constexpr size_t kBlockBytes = kFloatsAtOnce * sizeof(Bits);
  const size_t whole = count / kFloatsAtOnce;
  for (size_t b = 0; b < whole; ++b) {
    joiner.join(parts.heads + b * kFloatsAtOnce, tail_block(parts, b, narrow),
                out + b * kBlockBytes);
  }
  const size_t rest = count % kFloatsAtOnce;
  if (rest == 0) return;
  // Heads and planes of whole bytes end with the last float.
  uint8_t heads[kFloatsAtOnce] = {}, bytes[kFloatsAtOnce] = {}, floats[kBlockBytes];
  uint16_t words[kFloatsAtOnce] = {};
  TailBlock last = tail_block(parts, whole, narrow);
  std::memcpy(heads, parts.heads + whole * kFloatsAtOnce, rest);
  std::memcpy(bytes, last.bytes, rest);
  if (last.words != nullptr) std::memcpy(words, last.words, rest * sizeof(words[0]));
  joiner.join(heads, {words, bytes}, floats);
  std::memcpy(out + whole * kBlockBytes, floats, rest * sizeof(Bits));
}

void join_floats(const FloatParts& parts, size_t bytes_per_value, size_t count, void* out) {
  auto* to = static_cast<uint8_t*>(out);
  if (bytes_per_value == 4) {
    return parts.is_window ? join_as<uint32_t, true>(parts, count, to)
                           : join_as<uint32_t, false>(parts, count, to);
  }
  return parts.is_window ? join_as<uint16_t, true>(parts, count, to)
                         : join_as<uint16_t, false>(parts, count, to);
}

void fill_join(KernelTable& table) { table.join_floats = join_floats; }

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_join_kernels, fill_join)
#endif
