#include <algorithm>
#include <cstring>

#include "winnow/core/default_selection.h"

namespace winnow {
namespace {

// The values as integers of their size, whose bits but the sign are 0 if the value is.
template <typename Bits>
class Slices {
 public:
  Slices(const void* values, std::span<uint8_t> mask, const SliceShape& shape)
      : values_(static_cast<const std::byte*>(values)), mask_(mask), shape_(shape) {}

  KeptSlices keep() const noexcept {
    KeptSlices kept;
    for (uint64_t slice = 0; slice < shape_.slices; ++slice) {
      // As the mask has it: a slice that keeps a value, or had none to lose.
      if (any_value(slice, 1) || !any_value(slice, 0)) continue;
      ++kept.slices;
      for (uint64_t outer = 0; outer < shape_.outer; ++outer) {
        const std::span<uint8_t> piece = mask_.subspan(begin_of(outer, slice), shape_.inner);
        kept.values += static_cast<uint64_t>(std::ranges::count(piece, uint8_t{0}));
        std::ranges::fill(piece, uint8_t{1});
      }
    }
    return kept;
  }

 private:
  uint64_t begin_of(uint64_t outer, uint64_t slice) const noexcept {
    return (outer * shape_.slices + slice) * shape_.inner;
  }

  // Whether the slice has a value other than 0 under a byte of the mask like that.
  bool any_value(uint64_t slice, uint8_t byte) const noexcept {
    for (uint64_t outer = 0; outer < shape_.outer; ++outer) {
      const uint64_t begin = begin_of(outer, slice);
      for (uint64_t i = begin; i < begin + shape_.inner; ++i) {
        if (mask_[i] == byte && !is_zero(i)) return true;
      }
    }
    return false;
  }

  bool is_zero(uint64_t index) const noexcept {
    Bits bits;
    std::memcpy(&bits, values_ + index * sizeof(Bits), sizeof(Bits));
    return static_cast<Bits>(bits << 1) == 0;
  }

  const std::byte* values_;
  std::span<uint8_t> mask_;
  const SliceShape& shape_;
};

}  // namespace

KeptSlices keep_whole_slices(const void* values, DType dtype, std::span<uint8_t> mask,
                             const SliceShape& shape) noexcept {
  switch (dtype_bits(dtype)) {
    case 16:
      return Slices<uint16_t>(values, mask, shape).keep();
    case 32:
      return Slices<uint32_t>(values, mask, shape).keep();
    default:
      return Slices<uint64_t>(values, mask, shape).keep();
  }
}

}  // namespace winnow
