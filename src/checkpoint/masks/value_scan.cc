// Plain loops over integers, without early exits, so that compilers vectorize them.
#include "checkpoint/masks/value_scan.h"

#include <algorithm>
#include <cstring>

#include "base/float_format.h"

namespace winnow::checkpoint {
namespace {

// A value is zero if its bits without the sign are 0, and NaN if they are above infinity's. The
// counters are as narrow as the values: 16 bits can count the values of a piece.
template <typename Bits, Bits kInfinity>
ValueScan scan(const void* values, uint64_t count) noexcept {
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  constexpr uint64_t kPiece = 2048;
  Bits piece[kPiece];
  ValueScan result;
  for (uint64_t begin = 0; begin < count; begin += kPiece) {
    const uint64_t size = std::min(kPiece, count - begin);
    std::memcpy(piece, static_cast<const char*>(values) + begin * sizeof(Bits),
                size * sizeof(Bits));
    Bits zeros = 0, nans = 0;
    for (uint64_t i = 0; i < size; ++i) {
      const Bits magnitude = piece[i] & kMagnitude;
      zeros += magnitude == 0;
      nans |= magnitude > kInfinity;
    }
    result.zeros += zeros;
    result.any_nan = result.any_nan || nans != 0;
  }
  return result;
}

}  // namespace

ValueScan scan_values(const void* values, DType dtype, uint64_t count) noexcept {
  return with_format(dtype, [&](auto format) {
    using Format = decltype(format);
    return scan<typename Format::Bits, Format::kInfinity>(values, count);
  });
}

}  // namespace winnow::checkpoint
