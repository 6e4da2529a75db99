// Sparse values: which are not 0, those that are kept moved together, and moved apart again.
//
//     nonzero_bits     bit i = (values[i] has a bit that is not 0, or one but the sign)
//     compact_values   out = the values whose bit is 1, in their order
//     expand_values    out[i] = bit i ? the next of `values` : 0
//
// Both moves work on 16 bytes at a time: the bits of their values choose a shuffle out of a table.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/compact.cc"
#include "hwy/foreach_target.h"
//
#include <array>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/mask_bits-inl.h"

// Tables of shuffles, the same for every target.
#ifndef WINNOW_KERNELS_COMPACT_TABLES_
#define WINNOW_KERNELS_COMPACT_TABLES_
namespace winnow::kernels {

constexpr size_t kBlockBytes = 16;

// For values of kSize bytes: a row of shuffle indices for each pattern of bits of a block.
template <size_t kSize>
struct Shuffles {
  static constexpr size_t kLanes = kBlockBytes / kSize;
  static constexpr uint8_t kZero = 0x80;  // an index that gives a byte of 0

  alignas(kBlockBytes) uint8_t compact[size_t{1} << kLanes][kBlockBytes] = {};
  alignas(kBlockBytes) uint8_t expand[size_t{1} << kLanes][kBlockBytes] = {};

  constexpr Shuffles() {
    for (size_t bits = 0; bits < size_t{1} << kLanes; ++bits) {
      for (uint8_t& index : compact[bits]) index = kZero;
      for (uint8_t& index : expand[bits]) index = kZero;
      size_t next = 0;
      for (size_t lane = 0; lane < kLanes; ++lane) {
        if ((bits >> lane & 1) == 0) continue;
        for (size_t b = 0; b < kSize; ++b) {
          compact[bits][next * kSize + b] = static_cast<uint8_t>(lane * kSize + b);
          expand[bits][lane * kSize + b] = static_cast<uint8_t>(next * kSize + b);
        }
        ++next;
      }
    }
  }
};

template <size_t kSize>
inline constexpr Shuffles<kSize> kShuffles;

// Row p: for each of eight lanes, which of the kept values goes there under the bits p; any if
// none.
struct EightPlaces {
  alignas(32) int32_t rows[256][8] = {};

  constexpr EightPlaces() {
    for (size_t bits = 0; bits < 256; ++bits) {
      int32_t next = 0;
      for (size_t lane = 0; lane < 8; ++lane) {
        rows[bits][lane] = next & 7;
        next += static_cast<int32_t>(bits >> lane & 1);
      }
    }
  }
};

inline constexpr EightPlaces kEightPlaces;
inline constexpr std::array<uint32_t, 8> kLaneBits = {1, 2, 4, 8, 16, 32, 64, 128};

}  // namespace winnow::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// The bits of a value that count: all, or all but the sign, which twice the value does not have.
template <ZeroSign kSign, class V>
HWY_INLINE V counting(V value) {
  if constexpr (kSign == ZeroSign::kCounts) {
    return value;
  } else {
    return hn::Add(value, value);
  }
}

template <typename T, ZeroSign kSign>
void nonzero_bits_as(const uint8_t* values, size_t count, uint64_t* bits) {
  const hn::ScalableTag<T> d;
  const size_t whole = count / kKeysPerWord;
  for (size_t w = 0; w < whole; ++w) {
    const auto* group = reinterpret_cast<const T*>(values) + w * kKeysPerWord;
    bits[w] = word_of(d, [&](size_t i) HWY_ATTR {
      return hn::Ne(counting<kSign>(hn::LoadU(d, group + i)), hn::Zero(d));
    });
  }
  if (count % kKeysPerWord == 0) return;
  // The values end before the last word does, so their bits are set one by one.
  uint64_t last = 0;
  for (size_t i = whole * kKeysPerWord; i < count; ++i) {
    T value;
    std::memcpy(&value, values + i * sizeof(T), sizeof(T));
    if (kSign == ZeroSign::kIgnored) value = static_cast<T>(value + value);
    last |= uint64_t{value != 0} << i % kKeysPerWord;
  }
  bits[whole] = last;
}

template <ZeroSign kSign>
void nonzero_bits_of(const uint8_t* values, size_t bytes_per_value, size_t count, uint64_t* bits) {
  switch (bytes_per_value) {
    case 1:
      return nonzero_bits_as<uint8_t, kSign>(values, count, bits);
    case 2:
      return nonzero_bits_as<uint16_t, kSign>(values, count, bits);
    case 4:
      return nonzero_bits_as<uint32_t, kSign>(values, count, bits);
    default:
      return nonzero_bits_as<uint64_t, kSign>(values, count, bits);
  }
}

void nonzero_bits(const void* values, size_t bytes_per_value, size_t count, ZeroSign sign,
                  uint64_t* bits) {
  const auto* bytes = static_cast<const uint8_t*>(values);
  return sign == ZeroSign::kCounts
             ? nonzero_bits_of<ZeroSign::kCounts>(bytes, bytes_per_value, count, bits)
             : nonzero_bits_of<ZeroSign::kIgnored>(bytes, bytes_per_value, count, bits);
}

// One value after the other: what is left behind the last whole block, and values of one byte.
template <size_t kSize>
HWY_INLINE uint8_t* compact_one_by_one(const uint8_t* values, const uint64_t* bits, size_t begin,
                                       size_t end, uint8_t* out) {
  for (size_t i = begin; i < end; ++i) {
    std::memcpy(out, values + i * kSize, kSize);
    out += (bits[i / 64] >> i % 64 & 1) * kSize;
  }
  return out;
}

template <size_t kSize>
HWY_INLINE const uint8_t* expand_one_by_one(const uint8_t* values, const uint64_t* bits,
                                            size_t begin, size_t end, uint8_t* out) {
  for (size_t i = begin; i < end; ++i) {
    const bool kept = (bits[i / 64] >> i % 64 & 1) != 0;
    std::memset(out + i * kSize, 0, kSize);
    if (kept) std::memcpy(out + i * kSize, values, kSize);
    values += kept * kSize;
  }
  return values;
}

template <size_t kSize>
void compact_as(const uint8_t* values, const uint64_t* bits, size_t count, uint8_t* out) {
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kSize > 1) {
    constexpr size_t kLanes = kBlockBytes / kSize, kPatterns = size_t{1} << kLanes;
    const hn::Full128<uint8_t> d;
    for (; i + kLanes <= count; i += kLanes) {
      const size_t pattern = bits[i / 64] >> i % 64 & (kPatterns - 1);
      const auto block = hn::LoadU(d, values + i * kSize);
      const auto shuffle = hn::Load(d, kShuffles<kSize>.compact[pattern]);
      hn::StoreU(hn::TableLookupBytesOr0(block, shuffle), d, out);
      out += hwy::PopCount(uint64_t{pattern}) * kSize;
    }
  }
#endif
  compact_one_by_one<kSize>(values, bits, i, count, out);
}

#if HWY_TARGET != HWY_SCALAR
enum class Stores { kCached, kStreaming };

template <Stores kStores, class D, class V>
HWY_INLINE void store(V v, D d, uint8_t* to) {
  auto* const lanes = reinterpret_cast<hn::TFromD<D>*>(to);
  if constexpr (kStores == Stores::kStreaming) {
    hn::Stream(v, d, lanes);
  } else {
    hn::StoreU(v, d, lanes);
  }
}

// Eight values, by the eight bits of `pattern`. Returns the first of those that follow.
template <size_t kSize, Stores kStores>
HWY_INLINE const uint8_t* expand_eight(const uint8_t* values, size_t pattern, uint8_t* out) {
  const hn::CappedTag<uint32_t, 8> d32;
  if (kSize == 4 && hn::Lanes(d32) == 8) {
    const auto lane_bits = hn::LoadU(d32, kLaneBits.data());
    const auto block = hn::LoadU(d32, reinterpret_cast<const uint32_t*>(values));
    const auto places = hn::SetTableIndices(d32, kEightPlaces.rows[pattern]);
    const auto bits = hn::Set(d32, static_cast<uint32_t>(pattern));
    const auto kept = hn::Eq(hn::And(bits, lane_bits), lane_bits);
    store<kStores>(hn::IfThenElseZero(kept, hn::TableLookupLanes(block, places)), d32, out);
    return values + hwy::PopCount(uint64_t{pattern}) * kSize;
  }
  constexpr size_t kLanes = kBlockBytes / kSize;
  const hn::Full128<uint8_t> d;
  for (size_t lane = 0; lane < 8; lane += kLanes) {
    const size_t bits = pattern >> lane & ((size_t{1} << kLanes) - 1);
    const auto block = hn::LoadU(d, values);
    const auto shuffle = hn::Load(d, kShuffles<kSize>.expand[bits]);
    store<kStores>(hn::TableLookupBytesOr0(block, shuffle), d, out + lane * kSize);
    values += hwy::PopCount(uint64_t{bits}) * kSize;
  }
  return values;
}

// Streams all but the first and the last few values, which reach up to an aligned address and
// beyond the last. Returns how many values it did: none if no value is aligned.
template <size_t kSize>
HWY_INLINE size_t expand_streaming(const uint8_t*& values, const uint64_t* bits, size_t count,
                                   uint8_t* out) {
  constexpr size_t kAlignment = 32;
  const size_t lead = (0 - reinterpret_cast<uintptr_t>(out)) % kAlignment;
  if (lead % kSize != 0) return 0;
  size_t i = HWY_MIN(lead / kSize, count);
  values = expand_one_by_one<kSize>(values, bits, 0, i, out);
  const auto* bytes = reinterpret_cast<const uint8_t*>(bits);
  for (; i + 16 <= count; i += 8) {  // the second byte has bits of values too
    const unsigned two = bytes[i / 8] | bytes[i / 8 + 1] << 8;
    values = expand_eight<kSize, Stores::kStreaming>(values, two >> i % 8 & 0xff, out + i * kSize);
  }
  return i;
}
#endif

template <size_t kSize>
void expand_as_values(const uint8_t* values, const uint64_t* bits, size_t count, uint8_t* out,
                      [[maybe_unused]] bool is_streaming) {
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kSize > 1) {
    if (is_streaming) i = expand_streaming<kSize>(values, bits, count, out);
    for (; i % 8 == 0 && i + 8 <= count; i += 8) {
      const size_t pattern = bits[i / 64] >> i % 64 & 0xff;
      values = expand_eight<kSize, Stores::kCached>(values, pattern, out + i * kSize);
    }
  }
#endif
  expand_one_by_one<kSize>(values, bits, i, count, out);
}

void compact_values(const void* values, size_t bytes_per_value, const uint64_t* bits, size_t count,
                    void* out) {
  const auto* from = static_cast<const uint8_t*>(values);
  auto* to = static_cast<uint8_t*>(out);
  switch (bytes_per_value) {
    case 1:
      return compact_as<1>(from, bits, count, to);
    case 2:
      return compact_as<2>(from, bits, count, to);
    case 4:
      return compact_as<4>(from, bits, count, to);
    default:
      return compact_as<8>(from, bits, count, to);
  }
}

void expand_values(const void* values, size_t bytes_per_value, const uint64_t* bits, size_t count,
                   void* out, bool is_streaming) {
  const auto* from = static_cast<const uint8_t*>(values);
  auto* to = static_cast<uint8_t*>(out);
  switch (bytes_per_value) {
    case 1:
      return expand_as_values<1>(from, bits, count, to, is_streaming);
    case 2:
      return expand_as_values<2>(from, bits, count, to, is_streaming);
    case 4:
      return expand_as_values<4>(from, bits, count, to, is_streaming);
    default:
      return expand_as_values<8>(from, bits, count, to, is_streaming);
  }
}

size_t count_bit_groups(const uint64_t* bits, size_t words, size_t group) {
  // Bit i of a folded word: whether one of bits [i, i + group) is set.
  uint64_t firsts = 0;
  for (size_t i = 0; i < 64; i += group) firsts |= uint64_t{1} << i;
  size_t count = 0;
  for (size_t w = 0; w < words; ++w) {
    uint64_t word = bits[w];
    for (size_t step = 1; step < group; step *= 2) word |= word >> step;
    count += hwy::PopCount(word & firsts);
  }
  return count;
}

void fill_compact(KernelTable& table) {
  table.nonzero_bits = nonzero_bits;
  table.compact_values = compact_values;
  table.expand_values = expand_values;
  table.count_bit_groups = count_bit_groups;
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_compact_kernels, fill_compact)
#endif
