#include "winnow/core/packed_mask.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace winnow {
namespace {

std::vector<uint8_t> random_mask(size_t size) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::vector<uint8_t> mask(size);
  for (uint8_t& kept : mask) kept = random() % 2;
  return mask;
}

TEST(PackedMask, PutsEachValueAtItsBit) {
  for (size_t size = 0; size <= 130; ++size) {
    const std::vector<uint8_t> mask = random_mask(size);
    std::vector<uint8_t> bits(packed_mask_bytes(size), 0xff);
    ASSERT_TRUE(pack_mask(mask, bits));
    for (size_t i = 0; i < 8 * bits.size(); ++i) {
      EXPECT_EQ(bits[i / 8] >> (i % 8) & 1, i < size ? mask[i] : 0) << i << " of " << size;
    }
  }
}

TEST(PackedMask, UnpacksToWhatWasPacked) {
  for (size_t size = 0; size <= 130; ++size) {
    const std::vector<uint8_t> mask = random_mask(size);
    std::vector<uint8_t> bits(packed_mask_bytes(size)), back(size, 7);
    ASSERT_TRUE(pack_mask(mask, bits));
    if (size % 8 != 0) bits.back() |= 0x80;  // not looked at
    unpack_mask(bits, back);
    EXPECT_EQ(back, mask);
  }
}

TEST(PackedMask, RefusesBytesThatNoBitCanHold) {
  for (const size_t place : {0, 7, 8, 12}) {
    std::vector<uint8_t> mask(13, 1), bits(2);
    mask[place] = 2;
    EXPECT_FALSE(pack_mask(mask, bits)) << place;
    mask[place] = 0x80;
    EXPECT_FALSE(pack_mask(mask, bits)) << place;
  }
}

TEST(PackedMaskNumel, IsThatOfTheShapeIfTheBitsFitIt) {
  const auto values = [](std::vector<int64_t> shape, uint64_t bytes) {
    return packed_mask_numel(shape, bytes);
  };
  EXPECT_EQ(*values({3, 5}, 2), 15u);
  EXPECT_EQ(*values({}, 1), 1u);
  EXPECT_EQ(*values({0, 5}, 0), 0u);
  EXPECT_EQ(values({3, 5}, 3).status().message(),
            "mask_bits: expected 2 bytes for the values of mask_shape, found 3");
  EXPECT_EQ(values({3, -5}, 0).status().message(),
            "mask_shape: expected sizes of at least 0, found -5");
  EXPECT_FALSE(values({int64_t{1} << 32, int64_t{1} << 32}, 0).ok());
}

}  // namespace
}  // namespace winnow
