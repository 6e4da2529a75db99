#include <algorithm>
#include <cstring>

#include "winnow/core/default_selection.h"

namespace winnow {
namespace {

bool keeps_nothing(std::span<const uint8_t> mask) noexcept {
  return std::memchr(mask.data(), 1, mask.size()) == nullptr;
}

}  // namespace

KeptSlices keep_whole_slices(std::span<uint8_t> mask, const SliceShape& shape) noexcept {
  KeptSlices kept;
  const auto piece = [&](uint64_t outer, uint64_t slice) {
    return mask.subspan((outer * shape.slices + slice) * shape.inner, shape.inner);
  };
  for (uint64_t slice = 0; slice < shape.slices; ++slice) {
    uint64_t outer = 0;
    while (outer < shape.outer && keeps_nothing(piece(outer, slice))) ++outer;
    if (outer < shape.outer) continue;
    for (outer = 0; outer < shape.outer; ++outer) {
      std::ranges::fill(piece(outer, slice), uint8_t{1});
    }
    ++kept.slices;
    kept.values += shape.outer * shape.inner;
  }
  return kept;
}

}  // namespace winnow
