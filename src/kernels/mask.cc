// Bits to mask bytes, and mask bytes to where they belong.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/mask.cc"
#include "hwy/foreach_target.h"
//
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// One lane of type T a block: T is as wide as a block has columns, and every byte of it gets the
// bit.
template <typename T>
HWY_INLINE void expand_word(uint64_t bits, uint8_t* out) {
  const hn::ScalableTag<T> d;
  const auto ones = hn::Set(d, static_cast<T>(0x0101010101010101ull));
  HWY_UNROLL(64)
  for (size_t i = 0; i < kKeysPerWord; i += hn::Lanes(d)) {
    const auto mask = mask_of_bits(d, bits >> i);
    hn::StoreU(hn::IfThenElseZero(mask, ones), d, reinterpret_cast<T*>(out + i * sizeof(T)));
  }
}

template <typename T>
void expand_as(const uint64_t* words, size_t count, uint8_t* out) {
  const size_t whole = count / kKeysPerWord;
  for (size_t w = 0; w < whole; ++w) {
    expand_word<T>(words[w], out + w * kKeysPerWord * sizeof(T));
  }
  const size_t rest = count % kKeysPerWord;
  if (rest == 0) return;
  // A whole word is expanded aside: the output ends before its last byte.
  uint8_t last[kKeysPerWord * sizeof(T)];
  expand_word<T>(words[whole], last);
  std::memcpy(out + whole * sizeof(last), last, rest * sizeof(T));
}

void expand_bits(const uint64_t* bits, size_t count, size_t block_cols, uint8_t* out) {
  switch (block_cols) {
    case 1:
      return expand_as<uint8_t>(bits, count, out);
    case 2:
      return expand_as<uint16_t>(bits, count, out);
    case 4:
      return expand_as<uint32_t>(bits, count, out);
    case 8:
      return expand_as<uint64_t>(bits, count, out);
    default:  // no lane is as wide as such a block
      for (size_t b = 0; b < count; ++b) {
        const uint64_t bit = bits[b / 64] >> (b % 64) & 1;
        std::memset(out + b * block_cols, static_cast<int>(bit), block_cols);
      }
  }
}

size_t count_zero_bits(const uint64_t* bits, size_t count) {
  size_t ones = 0;
  for (size_t w = 0; w < count / 64; ++w) ones += hwy::PopCount(bits[w]);
  // Bits past `count` may be anything.
  if (count % 64 != 0) ones += hwy::PopCount(bits[count / 64] & ((uint64_t{1} << count % 64) - 1));
  return count - ones;
}

void copy_streaming(uint8_t* HWY_RESTRICT to, const uint8_t* HWY_RESTRICT from, size_t bytes) {
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  // Streaming stores take aligned addresses alone: the bytes before the first one are copied.
  const size_t head = HWY_MIN(bytes, (~reinterpret_cast<uintptr_t>(to) + 1) % lanes);
  std::memcpy(to, from, head);
  size_t i = head;
  for (; i + lanes <= bytes; i += lanes) hn::Stream(hn::LoadU(d, from + i), d, to + i);
  std::memcpy(to + i, from + i, bytes - i);
}

void fence() { hwy::FlushStream(); }

// Selects zeros by a mask. A product with 0 or 1 would turn negative values into -0.0 and leave
// NaN.
template <typename T>
void zero_dropped_as(T* HWY_RESTRICT values, const uint8_t* HWY_RESTRICT mask, size_t count) {
  const hn::ScalableTag<T> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto keep = hn::Ne(hn::PromoteTo(d, hn::LoadU(d8, mask + i)), hn::Zero(d));
    hn::StoreU(hn::IfThenElseZero(keep, hn::LoadU(d, values + i)), d, values + i);
  }
  // Bytes, because an element may stand at any address.
  auto* bytes = reinterpret_cast<char*>(values);
  for (; i < count; ++i) {
    if (mask[i] == 0) std::memset(bytes + i * sizeof(T), 0, sizeof(T));
  }
}

void zero_dropped(void* values, size_t bytes_per_value, const uint8_t* mask, size_t count) {
  switch (bytes_per_value) {
    case 2:
      return zero_dropped_as(static_cast<uint16_t*>(values), mask, count);
    case 4:
      return zero_dropped_as(static_cast<uint32_t*>(values), mask, count);
    default: {
      auto* bytes = static_cast<char*>(values);
      for (size_t i = 0; i < count; ++i) {
        if (mask[i] == 0) std::memset(bytes + i * bytes_per_value, 0, bytes_per_value);
      }
    }
  }
}

void fill_masks(KernelTable& table) {
  table.expand_bits = expand_bits;
  table.count_zero_bits = count_zero_bits;
  table.copy_streaming = copy_streaming;
  table.fence = fence;
  table.zero_dropped = zero_dropped;
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_mask_kernels, fill_masks)
#endif
