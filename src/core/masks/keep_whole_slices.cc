#include <algorithm>
#include <cstring>

#include "winnow/core/default_selection.h"

namespace winnow {
namespace {

// What a slice has under its mask: values other than 0 that are kept, and such that are dropped.
constexpr uint8_t kKept = 1, kDropped = 2;

// As the mask has it: a slice that keeps a value, or had none to lose, may stay as it is.
constexpr bool falls_whole(uint8_t seen) noexcept { return seen == kDropped; }

// The same of some values, read as integers, whose bits but the sign are 0 if the value is. Nothing
// more can be learnt once a value is kept.
template <typename Bits>
uint8_t seen_in(const std::byte* values, std::span<const uint8_t> mask) noexcept {
  uint8_t seen = 0;
  for (size_t i = 0; i < mask.size() && (seen & kKept) == 0; ++i) {
    Bits bits;
    std::memcpy(&bits, values + i * sizeof(Bits), sizeof(Bits));
    if (static_cast<Bits>(bits << 1) != 0) seen |= mask[i] != 0 ? kKept : kDropped;
  }
  return seen;
}

uint8_t seen_in(const void* values, DType dtype, uint64_t begin,
                std::span<const uint8_t> mask) noexcept {
  const std::byte* data = static_cast<const std::byte*>(values) + begin * (dtype_bits(dtype) / 8);
  switch (dtype_bits(dtype)) {
    case 16:
      return seen_in<uint16_t>(data, mask);
    case 32:
      return seen_in<uint32_t>(data, mask);
    default:
      return seen_in<uint64_t>(data, mask);
  }
}

// Returns how many values become kept.
uint64_t keep_all(std::span<uint8_t> mask) noexcept {
  const auto dropped = static_cast<uint64_t>(std::ranges::count(mask, uint8_t{0}));
  std::ranges::fill(mask, uint8_t{1});
  return dropped;
}

// Calls visit(slice, begin, end) for the runs of one slice that [first, first + count) consists of,
// counted from `first` on.
template <typename Visit>
void for_each_run(const SliceShape& shape, uint64_t first, uint64_t count, const Visit& visit) {
  for (uint64_t begin = 0; begin < count;) {
    const uint64_t index = first + begin;
    const uint64_t end = std::min(count, begin + shape.inner - index % shape.inner);
    visit(index / shape.inner % shape.slices, begin, end);
    begin = end;
  }
}

}  // namespace

KeptSlices keep_whole_slices(const void* values, DType dtype, std::span<uint8_t> mask,
                             const SliceShape& shape) noexcept {
  KeptSlices kept;
  for (uint64_t slice = 0; slice < shape.slices; ++slice) {
    const auto begin_of = [&](uint64_t outer) {
      return (outer * shape.slices + slice) * shape.inner;
    };
    uint8_t seen = 0;
    for (uint64_t outer = 0; outer < shape.outer && (seen & kKept) == 0; ++outer) {
      seen |= seen_in(values, dtype, begin_of(outer), mask.subspan(begin_of(outer), shape.inner));
    }
    if (!falls_whole(seen)) continue;
    ++kept.slices;
    for (uint64_t outer = 0; outer < shape.outer; ++outer) {
      kept.values += keep_all(mask.subspan(begin_of(outer), shape.inner));
    }
  }
  return kept;
}

SliceGuard::SliceGuard(const SliceShape& shape) : shape_(shape), seen_(shape.slices) {}

void SliceGuard::see(const void* values, DType dtype, std::span<const uint8_t> mask,
                     uint64_t first) noexcept {
  for_each_run(shape_, first, mask.size(), [&](uint64_t slice, uint64_t begin, uint64_t end) {
    seen_[slice] |= seen_in(values, dtype, begin, mask.subspan(begin, end - begin));
  });
}

uint64_t SliceGuard::kept_slices() const noexcept {
  return static_cast<uint64_t>(std::ranges::count_if(seen_, falls_whole));
}

uint64_t SliceGuard::keep(std::span<uint8_t> mask, uint64_t first) const noexcept {
  uint64_t values = 0;
  for_each_run(shape_, first, mask.size(), [&](uint64_t slice, uint64_t begin, uint64_t end) {
    if (falls_whole(seen_[slice])) values += keep_all(mask.subspan(begin, end - begin));
  });
  return values;
}

}  // namespace winnow
