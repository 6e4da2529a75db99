// The kernel that joins floats at every level, for all tails of a block, misaligned and flush
// against guard pages: against parts that are cut out of the floats bit by bit.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include "kernels/kernel_table.h"
#include "support/guarded_buffer.h"
#include "support/simd_levels.h"

namespace winnow::kernels {
namespace {

using testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

class JoinFloatsTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  const KernelTable& table() const { return kernel_table(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, JoinFloatsTest, testing::every_level(), testing::level_name);

struct Format {
  size_t size;  // bytes
  unsigned mantissa, tail;
  bool is_window;

  uint32_t head(uint32_t bits, const std::array<unsigned, 3>& exponents) const {
    const uint32_t magnitude = bits & ((1u << (8 * size - 1)) - 1);
    const uint32_t above = magnitude >> (tail - 1);
    if (!is_window) return above;
    for (unsigned c = 0; c < 3; ++c) {
      if (magnitude >> mantissa == exponents[c]) return c << 6 | (above & 63);
    }
    return 3 << 6 | (above & 63);
  }
  uint32_t tail_of(uint32_t bits) const {
    return (bits & ((1u << (tail - 1)) - 1)) | bits >> (8 * size - 1) << (tail - 1);
  }
};

// Every split of sparse/float_split.cc that the kernel takes.
constexpr Format kFormats[] = {{4, 23, 18, true}, {4, 23, 24, false}, {2, 7, 2, true},
                               {2, 7, 8, false},  {2, 10, 5, true},   {2, 10, 8, false}};

// The planes of the tails, each flush against a guard page.
std::deque<GuardedBuffer> make_planes(const std::vector<uint32_t>& tails, unsigned bits) {
  std::deque<GuardedBuffer> planes;
  for (unsigned shift = 0; shift < bits;) {
    unsigned width = 16;
    while (width > bits - shift) width /= 2;
    const size_t n = tails.size();
    planes.emplace_back(width >= 8 ? n * width / 8 : (n + 63) / 64 * 8 * width, Flush::kEnd);
    auto* plane = planes.back().as<uint8_t>();
    for (size_t i = 0; i < n; ++i) {
      const uint32_t part = tails[i] >> shift & ((1u << width) - 1);
      if (width >= 8) {
        std::memcpy(plane + i * (width / 8), &part, width / 8);
      } else {
        const size_t stride = 8 * width, at = i % 64;
        uint8_t& byte = plane[i / 64 * stride + at % stride];
        byte = static_cast<uint8_t>(byte | part << (at / stride * width));
      }
    }
    shift += width;
  }
  return planes;
}

TEST_P(JoinFloatsTest, GivesBackFloatsThatWereCutIntoParts) {
  std::mt19937 random(1);
  constexpr std::array<unsigned, 3> kExponents = {14, 2, 29};
  for (const Format& format : kFormats) {
    for (size_t count = 0; count < 200; ++count) {
      std::vector<uint32_t> floats(count), tails(count);
      GuardedBuffer heads(count, Flush::kEnd);
      for (size_t i = 0; i < count; ++i) {
        const uint32_t mantissa = random() & ((1u << format.mantissa) - 1);
        // Class 3 gets the exponent 0, and so has that one in this test.
        const unsigned exponent = std::array{14u, 2u, 29u, 0u}[random() % 4];
        const uint32_t sign = random() & 1;
        floats[i] = mantissa | exponent << format.mantissa | sign << (8 * format.size - 1);
        heads.as<uint8_t>()[i] = static_cast<uint8_t>(format.head(floats[i], kExponents));
        tails[i] = format.tail_of(floats[i]);
      }
      std::deque<GuardedBuffer> planes = make_planes(tails, format.tail);
      std::vector<const uint8_t*> begins;
      for (GuardedBuffer& plane : planes) begins.push_back(plane.as<uint8_t>());

      const size_t misalignment = count % 5;
      GuardedBuffer out(misalignment + count * format.size, Flush::kEnd);
      table().join_floats({.heads = heads.as<uint8_t>(),
                           .planes = begins.data(),
                           .tail_bits = format.tail,
                           .is_window = format.is_window,
                           .exponents = kExponents.data()},
                          format.size, count, out.as<uint8_t>() + misalignment);
      for (size_t i = 0; i < count; ++i) {
        uint32_t found = 0;
        std::memcpy(&found, out.as<uint8_t>() + misalignment + i * format.size, format.size);
        ASSERT_EQ(found, floats[i]) << i << " of " << count << ", a tail of " << format.tail;
      }
    }
  }
}

}  // namespace
}  // namespace winnow::kernels
