// PRIVATE. One score at a time as a key: the tails of the kernels and single values.
#pragma once

#include <bit>
#include <limits>
#include <type_traits>

#include "kernels/kernel_table.h"

namespace winnow::kernels {

/// The score of a magnitude: itself (L1) or its square (L2), one rounding each.
template <typename Score>
Score scalar_score_of(Score magnitude, Norm norm) noexcept {
  return norm == Norm::kL1 ? magnitude : magnitude * magnitude;
}

/// Scores are never negative, but a NaN may carry any sign and payload.
template <typename Score>
auto scalar_key_of(Score score) noexcept {
  using Key = std::conditional_t<sizeof(Score) == 4, int32_t, int64_t>;
  const Key bits = std::bit_cast<Key>(score) & std::numeric_limits<Key>::max();
  return bits < kNanKey<Key> ? bits : kNanKey<Key>;
}

}  // namespace winnow::kernels
