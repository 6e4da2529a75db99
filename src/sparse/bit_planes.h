// Private: numbers of a few bits each, as planes that loops over vectors can make and read.
//
// Numbers of `bits` bits have planes of 16 bits, as many as fit, and then one each of 8, 4, 2 and 1
// bits, those that are left to be had; the lowest bits are in the first. (18 bits: 16 and 2.) A
// plane of 16 or 8 bits has its part of each number one behind the other. A narrower one of `width`
// bits has 8 * width bytes for every 64 numbers, the last 64 filled up with 0:
//
//     byte j has the parts of the numbers j, j + 8 * width, j + 16 * width, ..., the first in its
//     lowest bits
//
// so that equal shifts give neighbouring numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace winnow::sparse {

/// Planes are read and written so many numbers at a time.
inline constexpr size_t kNumbersAtOnce = 64;

/// The width of the plane that comes next if `bits` bits of each number are left.
constexpr unsigned next_width(unsigned bits) noexcept {
  unsigned width = 16;
  while (width > bits) width /= 2;
  return width;
}

/// The planes of numbers of `bits` bits.
constexpr unsigned plane_count(unsigned bits) noexcept {
  unsigned count = 0;
  for (; bits > 0; bits -= next_width(bits)) ++count;
  return count;
}

/// The bytes of a plane of that width with n numbers.
constexpr size_t plane_bytes(size_t n, unsigned width) noexcept {
  return width >= 8 ? n * width / 8
                    : (n + kNumbersAtOnce - 1) / kNumbersAtOnce * kNumbersAtOnce / 8 * width;
}

/// Calls block(i, count) for numbers [0, n), kNumbersAtOnce at a time, and once for the rest. For
/// the first, count is a std::integral_constant: a loop of a constant length becomes vectors.
template <typename Block>
void for_each_block(size_t n, const Block& block) {
  size_t i = 0;
  for (; i + kNumbersAtOnce <= n; i += kNumbersAtOnce) {
    block(i, std::integral_constant<size_t, kNumbersAtOnce>());
  }
  if (i < n) block(i, n - i);
}

/// Writes bits [shift, shift + kWidth) of each number as a plane of plane_bytes bytes.
template <unsigned kWidth, typename Number>
void write_plane(std::span<const Number> numbers, unsigned shift, uint8_t* out) {
  if constexpr (kWidth >= 8) {
    using Part = std::conditional_t<kWidth == 16, uint16_t, uint8_t>;
    for_each_block(numbers.size(), [&](size_t i, auto count) {
      Part parts[kNumbersAtOnce];
      for (size_t j = 0; j < count; ++j) parts[j] = static_cast<Part>(numbers[i + j] >> shift);
      std::memcpy(out + i * sizeof(Part), parts, count * sizeof(Part));
    });
  } else {
    constexpr size_t kBytes = kNumbersAtOnce / 8 * kWidth;
    for_each_block(numbers.size(), [&](size_t i, auto count) {
      uint8_t parts[kNumbersAtOnce] = {};
      for (size_t j = 0; j < count; ++j) {
        parts[j] = static_cast<uint8_t>(numbers[i + j] >> shift & ((1u << kWidth) - 1));
      }
      uint8_t bytes[kBytes] = {};
      for (size_t k = 0; k < 8 / kWidth; ++k) {
        for (size_t j = 0; j < kBytes; ++j) {
          bytes[j] = static_cast<uint8_t>(bytes[j] | parts[k * kBytes + j] << (k * kWidth));
        }
      }
      std::memcpy(out + i / kNumbersAtOnce * kBytes, bytes, kBytes);
    });
  }
}

/// Adds what a plane has of numbers [i, i + count) to out[0, count), from bit `shift` on; i is a
/// multiple of kNumbersAtOnce. Of a narrow plane, all of out[0, kNumbersAtOnce) are written.
template <unsigned kWidth, typename Number, typename Count>
void add_plane(const uint8_t* plane, size_t i, Count count, unsigned shift, Number* out) {
  if constexpr (kWidth >= 8) {
    using Part = std::conditional_t<kWidth == 16, uint16_t, uint8_t>;
    for (size_t j = 0; j < count; ++j) {
      Part part;
      std::memcpy(&part, plane + (i + j) * sizeof(part), sizeof(part));
      out[j] = static_cast<Number>(out[j] | static_cast<Number>(part) << shift);
    }
  } else {
    constexpr size_t kBytes = kNumbersAtOnce / 8 * kWidth;
    const uint8_t* bytes = plane + i / kNumbersAtOnce * kBytes;
    for (size_t k = 0; k < 8 / kWidth; ++k) {
      for (size_t j = 0; j < kBytes; ++j) {
        const Number part = bytes[j] >> (k * kWidth) & ((1u << kWidth) - 1);
        out[k * kBytes + j] = static_cast<Number>(out[k * kBytes + j] | part << shift);
      }
    }
  }
}

/// The planes of numbers of kBits bits, as they are read: where each begins.
template <unsigned kBits, typename Number>
struct Planes {
  std::array<const uint8_t*, plane_count(kBits)> begins = {};

  /// Numbers [i, i + count) to out[0, count); i is a multiple of kNumbersAtOnce, which is how many
  /// numbers `out` has room for.
  template <typename Count>
  void load(size_t i, Count count, Number* out) const {
    for (size_t j = 0; j < kNumbersAtOnce; ++j) out[j] = 0;
    add_from<kBits, 0>(i, count, out);
  }

 private:
  template <unsigned kLeft, unsigned kPlane, typename Count>
  void add_from(size_t i, Count count, Number* out) const {
    constexpr unsigned kWidth = next_width(kLeft);
    add_plane<kWidth>(begins[kPlane], i, count, kBits - kLeft, out);
    if constexpr (kLeft > kWidth) add_from<kLeft - kWidth, kPlane + 1>(i, count, out);
  }
};

}  // namespace winnow::sparse
