// The kernels that make and apply mask bytes at every level, for all tails, flush against guard
// pages.
#include <gtest/gtest.h>

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

class MaskKernelsTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  const KernelTable& table() const { return kernel_table(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, MaskKernelsTest, testing::every_level(), testing::level_name);

bool bit(const uint64_t* words, size_t i) { return words[i / 64] >> (i % 64) & 1; }

TEST_P(MaskKernelsTest, ExpandsBitsToBytesOfEveryWidth) {
  std::mt19937_64 random(1);
  for (const size_t cols : {1, 2, 3, 4, 5, 8, 16, 100}) {
    for (size_t count = 0; count < 258; ++count) {
      const size_t words = (count + 63) / 64;
      GuardedBuffer bits_memory(words * 8, Flush::kEnd), out_memory(count * cols, Flush::kEnd);
      auto* bits = bits_memory.as<uint64_t>();
      for (size_t w = 0; w < words; ++w) bits[w] = random();
      auto* out = out_memory.as<uint8_t>();
      table().expand_bits(bits, count, cols, out);
      size_t zeros = 0;
      for (size_t i = 0; i < count; ++i) zeros += !bit(bits, i);
      for (size_t i = 0; i < count * cols; ++i) ASSERT_EQ(out[i], bit(bits, i / cols));
      ASSERT_EQ(table().count_zero_bits(bits, count), zeros);
    }
  }
}

TEST_P(MaskKernelsTest, CopiesAroundTheCachesAtEveryLengthAndMisalignment) {
  std::vector<uint8_t> from(700);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 31);
  for (size_t bytes = 0; bytes < 258; ++bytes) {
    for (const Flush flush : {Flush::kStart, Flush::kEnd}) {
      GuardedBuffer guarded(bytes, flush);
      table().copy_streaming(guarded.as<uint8_t>(), from.data() + bytes, bytes);
      table().fence();
      ASSERT_EQ(std::memcmp(guarded.as<uint8_t>(), from.data() + bytes, bytes), 0) << bytes;
    }
  }
}

TEST_P(MaskKernelsTest, ZeroesDroppedElementsOfEveryWidthInPlace) {
  for (const size_t size : {1, 2, 4, 8}) {
    for (size_t count = 0; count < 150; ++count) {
      const size_t misalignment = count % 3;
      const Flush flush = count % 2 == 0 ? Flush::kStart : Flush::kEnd;
      GuardedBuffer memory(misalignment + count * size, flush), mask_memory(count, flush);
      auto* values = memory.as<unsigned char>() + misalignment;
      auto* mask = mask_memory.as<uint8_t>();
      std::memset(values, 0xab, count * size);
      std::vector<unsigned char> expected(count * size, 0xab);
      for (size_t i = 0; i < count; ++i) {
        mask[i] = i * 7 % 3 != 0;
        if (mask[i] == 0) std::memset(expected.data() + i * size, 0, size);
      }
      table().zero_dropped(values, size, mask, count);
      ASSERT_EQ(std::vector<unsigned char>(values, values + count * size), expected)
          << count << " elements of " << size << " bytes";
    }
  }
}

}  // namespace
}  // namespace winnow::kernels
