// The kernels of sparse values at every level, for all sizes, tails and misalignments, flush
// against guard pages.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernel_table.h"
#include "support/guarded_buffer.h"
#include "support/simd_levels.h"

namespace winnow::kernels {
namespace {

using testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

class CompactKernelsTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  const KernelTable& table() const { return kernel_table(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, CompactKernelsTest, testing::every_level(),
                         testing::level_name);

constexpr size_t kSlack = 32;  // what the kernels may read or write behind the last value

bool bit(const std::vector<uint64_t>& words, size_t i) { return words[i / 64] >> (i % 64) & 1; }

// `count` values of `size` bytes, of which about a third is not 0, in their last byte at least.
void fill(std::mt19937_64& random, size_t count, size_t size, uint8_t* values) {
  std::memset(values, 0, count * size);
  for (size_t i = 0; i < count; ++i) {
    if (random() % 3 == 0) values[i * size + random() % size] = static_cast<uint8_t>(random() | 1);
    if (random() % 5 == 0) values[(i + 1) * size - 1] |= 0x80;
  }
}

TEST_P(CompactKernelsTest, MovesValuesTogetherAndApart) {
  std::mt19937_64 random(1);
  for (const size_t size : {1, 2, 4, 8}) {
    for (size_t count = 0; count < 200; ++count) {
      const size_t misalignment = count % 5;
      GuardedBuffer memory(misalignment + count * size, Flush::kEnd);
      auto* values = memory.as<uint8_t>() + misalignment;
      fill(random, count, size, values);

      std::vector<uint64_t> bits((count + 63) / 64, ~uint64_t{0});
      table().nonzero_bits(values, size, count, ZeroSign::kCounts, bits.data());
      std::vector<uint8_t> kept;
      for (size_t i = 0; i < count; ++i) {
        const std::vector<uint8_t> value(values + i * size, values + (i + 1) * size);
        const bool nonzero = value != std::vector<uint8_t>(size);
        ASSERT_EQ(bit(bits, i), nonzero) << i << " of " << count << " values of " << size;
        if (nonzero) kept.insert(kept.end(), value.begin(), value.end());
      }
      std::vector<uint64_t> magnitudes(bits.size());
      table().nonzero_bits(values, size, count, ZeroSign::kIgnored, magnitudes.data());
      for (size_t i = 0; i < count; ++i) {
        std::vector<uint8_t> value(values + i * size, values + (i + 1) * size);
        value.back() &= 0x7f;
        ASSERT_EQ(bit(magnitudes, i), value != std::vector<uint8_t>(size)) << i << " of " << size;
      }
      if (count % 64 != 0) {
        ASSERT_EQ(bits.back() >> count % 64, 0u);
      }

      GuardedBuffer together_memory(kept.size() + kSlack, Flush::kEnd);
      auto* together = together_memory.as<uint8_t>();
      table().compact_values(values, size, bits.data(), count, together);
      ASSERT_EQ(std::vector<uint8_t>(together, together + kept.size()), kept)
          << count << " values of " << size;

      for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
        for (const bool is_streaming : {false, true}) {
          // Behind a guard page too, at other alignments.
          const size_t gap = flush == Flush::kStart ? misalignment : 0;
          GuardedBuffer apart_memory(gap + count * size, flush);
          auto* apart = apart_memory.as<uint8_t>() + gap;
          std::memset(apart, 0xab, count * size);
          table().expand_values(together, size, bits.data(), count, apart, is_streaming);
          table().fence();
          ASSERT_EQ(std::memcmp(apart, values, count * size), 0) << count << " values of " << size;
        }
      }
    }
  }
}

TEST_P(CompactKernelsTest, TakesEveryPatternOfBits) {
  for (const size_t size : {2, 4, 8}) {
    const size_t lanes = 16 / size;
    std::vector<uint8_t> values(16 + kSlack), together(16 + kSlack), apart(16);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint8_t>(i + 1);
    for (uint64_t bits = 0; bits < uint64_t{1} << lanes; ++bits) {
      table().compact_values(values.data(), size, &bits, lanes, together.data());
      table().expand_values(together.data(), size, &bits, lanes, apart.data(), false);
      size_t next = 0;
      for (size_t i = 0; i < lanes; ++i) {
        const bool kept = bits >> i & 1;
        for (size_t b = i * size; b < (i + 1) * size; ++b) {
          ASSERT_EQ(apart[b], kept ? values[b] : 0) << bits;
          if (kept) {
            ASSERT_EQ(together[next++], values[b]) << bits;
          }
        }
      }
    }
  }
}

TEST_P(CompactKernelsTest, CountsGroupsWithABit) {
  std::mt19937_64 random(2);
  std::vector<uint64_t> words(9);
  for (uint64_t& word : words) word = random() & random() & random();
  for (size_t group = 1; group <= 64; group *= 2) {
    for (size_t count = 0; count <= words.size(); ++count) {
      size_t expected = 0;
      for (size_t begin = 0; begin < 64 * count; begin += group) {
        bool any = false;
        for (size_t i = begin; i < begin + group; ++i) any |= bit(words, i);
        expected += any;
      }
      EXPECT_EQ(table().count_bit_groups(words.data(), count, group), expected) << group;
    }
  }
}

}  // namespace
}  // namespace winnow::kernels
