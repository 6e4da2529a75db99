// Checked arithmetic. Sizes that come from outside are multiplied and added here and nowhere else.
#pragma once

#include <cstdint>
#include <optional>

namespace winnow {

/// Returns a * b, or nullopt if the product does not fit into 64 bits.
[[nodiscard]] constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) noexcept {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Returns a + b, or nullopt if the sum does not fit into 64 bits.
[[nodiscard]] constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) noexcept {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

}  // namespace winnow
