#include "sparse/bit_planes.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "sparse/tails.h"

namespace winnow::sparse {
namespace {

TEST(Planes, HaveTheWidthsOfTheNumbersBits) {
  EXPECT_EQ(plane_count(18), 2u);  // 16 and 2
  EXPECT_EQ(plane_count(47), 6u);  // 16, 16, 8, 4, 2 and 1
  EXPECT_EQ(next_width(15), 8u);
  EXPECT_EQ(plane_bytes(65, 16), 130u);
  EXPECT_EQ(plane_bytes(65, 2), 32u);  // two blocks of 64 numbers
}

// Byte 3 of a plane of 2 bits has the numbers 3, 19, 35 and 51.
TEST(Planes, PutDistantNumbersIntoOneByte) {
  std::vector<uint32_t> numbers(64);
  numbers[3] = 1;
  numbers[19] = 2;
  numbers[35] = 3;
  numbers[51] = 1;
  uint8_t plane[16];
  write_plane<2, uint32_t>(numbers, 0, plane);
  for (size_t j = 0; j < 16; ++j) EXPECT_EQ(plane[j], j == 3 ? 1 | 2 << 2 | 3 << 4 | 1 << 6 : 0);
}

template <unsigned kBits>
void check_tails() {
  std::mt19937_64 random(kBits);
  for (const size_t n : {1, 63, 64, 65, 200}) {
    std::vector<uint64_t> tails(n);
    for (uint64_t& tail : tails) tail = random() & ((uint64_t{1} << kBits) - 1);
    StreamWriter writer;
    StreamReader reader;
    Bytes plane, out;
    append_tails<uint64_t>(tails, kBits, writer, plane, out);
    ByteReader from(out);
    PlaneBuffers buffers;
    const auto planes = read_tails<kBits, uint64_t>(n, from, reader, buffers);
    ASSERT_TRUE(planes.ok()) << planes.status().message();
    EXPECT_EQ(from.left(), 0u);
    for_each_block(n, [&](size_t i, auto count) {
      uint64_t found[kNumbersAtOnce];
      planes->load(i, count, found);
      for (size_t j = 0; j < count; ++j) EXPECT_EQ(found[j], tails[i + j]) << kBits;
    });
  }
}

TEST(Planes, ComeBackOfAnyWidth) {
  check_tails<1>();
  check_tails<2>();
  check_tails<5>();
  check_tails<8>();
  check_tails<15>();
  check_tails<16>();
  check_tails<18>();
  check_tails<24>();
  check_tails<47>();
  check_tails<53>();
}

}  // namespace
}  // namespace winnow::sparse
