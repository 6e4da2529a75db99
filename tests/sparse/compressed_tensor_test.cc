// Values that are compressed come back bit for bit, as small as promised, whatever the threads.
#include "winnow/sparse/compressed_tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sparse/value_sets.h"
#include "support/threads.h"

namespace winnow {
namespace {

using testing::bytes_of_numbers;
using testing::ByteVector;
using testing::decimals;
using testing::pruned_normal;
using testing::random_bits;
using testing::ThreadsFor;

SerialFor serial;

ByteVector compressed(const ByteVector& values, DType dtype, uint64_t row = 64) {
  const Result<ByteVector> result = compress_values(values, dtype, row, serial);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? *result : ByteVector();
}

// The size, once the values have come back.
size_t round_trip(const ByteVector& values, DType dtype, uint64_t row = 64) {
  const ByteVector small = compressed(values, dtype, row);
  ByteVector back(values.size(), std::byte{0xa5});
  const Status status = decompress_values(small, dtype, back, serial);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(back == values) << dtype_name(dtype) << " " << values.size();
  EXPECT_LE(small.size(), values.size() + values.size() / 1000 + 1024);
  return small.size();
}

uint8_t kind_of(const ByteVector& values, DType dtype, size_t byte, size_t row = 64) {
  return std::to_integer<uint8_t>(compressed(values, dtype, row)[byte]);
}

constexpr DType kAll[] = {DType::kBool,   DType::kF4,  DType::kF6E2M3, DType::kU8,   DType::kI8,
                          DType::kF8E4M3, DType::kI16, DType::kF16,    DType::kBF16, DType::kI32,
                          DType::kF32,    DType::kC64, DType::kF64,    DType::kI64,  DType::kU64};

TEST(CompressValues, KeepsEveryBitOfRandomBits) {
  for (const DType dtype : kAll) {
    for (const size_t n : {0, 1, 2, 7, 8, 9, 63, 64, 65, 255, 256, 1000}) {
      round_trip(random_bits(n * std::max<size_t>(1, dtype_bits(dtype) / 8)), dtype);
    }
  }
}

TEST(CompressValues, KeepsEveryBitOfPrunedValues) {
  for (const DType dtype : testing::kPrunable) {
    for (const double zeros : {0.0, 0.3, 0.5, 0.8, 0.84, 0.9, 0.99, 0.9999, 1.0}) {
      for (const size_t n : {1, 64, 1000, 20'001}) {
        round_trip(pruned_normal(dtype, n, zeros), dtype);
      }
    }
  }
}

// What a product with a mask leaves: -0.0 in the place of every negative value that is dropped. It
// costs at most a bit a value more than +0.0.
TEST(CompressValues, SpendsABitOnTheSignsOfZeros) {
  constexpr size_t kCount = 100'000;
  for (const DType dtype : testing::kPrunable) {
    ByteVector values = pruned_normal(dtype, kCount, 0.9);
    const size_t plain = round_trip(values, dtype);
    const size_t itemsize = values.size() / kCount;
    std::mt19937_64 random(5);
    for (size_t i = 0; i < kCount; ++i) {
      if (random() % 2 == 0) values[(i + 1) * itemsize - 1] |= std::byte{0x80};
    }
    EXPECT_LE(round_trip(values, dtype), plain + kCount / 8 + 200) << dtype_name(dtype);
    round_trip(ByteVector(values.begin(), values.end() - 3 * itemsize), dtype);  // a part of a byte
  }
  // Whole rows, and nothing but signs.
  std::vector<uint32_t> bits(64'000);
  for (size_t i = 0; i < bits.size(); ++i)
    bits[i] = i / 64 % 10 == 0 ? 0x3f800000 + i : i % 3 << 31;
  EXPECT_LT(round_trip(bytes_of_numbers(bits), DType::kF32), 6'400 * 4 + 8'000 + 400);
  for (uint32_t& value : bits) value = value == 0 ? 0 : 0x80000000;
  EXPECT_LT(round_trip(bytes_of_numbers(bits), DType::kF32), 8'300);
}

TEST(CompressValues, KeepsNegativeZeroAndNanPayloads) {
  std::vector<uint32_t> bits(1000);
  bits[3] = 0x80000000;
  bits[4] = 0x7fc01234;
  bits[900] = 0xff800001;
  bits[901] = 0x00000001;
  EXPECT_LT(round_trip(bytes_of_numbers(bits), DType::kF32), 200u);
}

// The exponents of F64 count from a base, which leaves room for 256 of them.
TEST(CompressValues, KeepsVeryLargeAndVerySmallF64) {
  for (const double scale : {0x1p-1000, 0x1p-700, 0x1p769, 0x1p770, 0x1p1000}) {
    std::vector<double> values;
    for (int i = 1; i <= 2000; ++i) values.push_back(scale * std::pow(1.001, i));
    EXPECT_EQ(kind_of(bytes_of_numbers(values), DType::kF64, 1), 1) << scale;  // window
    for (int i = 0; i < 2000; ++i) values[i] = std::ldexp(scale, i % 20) * (1 + i / 3000.0);
    EXPECT_EQ(kind_of(bytes_of_numbers(values), DType::kF64, 1), 2) << scale;  // exponent
    round_trip(bytes_of_numbers(values), DType::kF64);
    values[5] = 0;  // more exponents than a byte counts
    round_trip(bytes_of_numbers(values), DType::kF64);
  }
}

TEST(CompressValues, CutsChunksAtRows) {
  const size_t rows = 9, row = 300'000;  // three rows a chunk
  round_trip(pruned_normal(DType::kBF16, rows * row, 0.9), DType::kBF16, row);
  // Rows longer than a chunk are cut.
  round_trip(pruned_normal(DType::kBF16, 2'500'000, 0.9), DType::kBF16, 2'500'000);
}

TEST(CompressValues, GivesTheSameBytesForAnyNumberOfThreads) {
  const ByteVector values = pruned_normal(DType::kF16, 5'000'000, 0.7);
  const ByteVector one = compressed(values, DType::kF16);
  for (const size_t count : {2, 3, 7}) {
    ThreadsFor threads(count);
    const Result<ByteVector> many = compress_values(values, DType::kF16, 64, threads);
    ASSERT_TRUE(many.ok());
    EXPECT_TRUE(*many == one) << count;
    ByteVector back(values.size());
    ASSERT_TRUE(decompress_values(*many, DType::kF16, back, threads).ok());
    EXPECT_TRUE(back == values);
  }
}

// The entropy of the positions and the plain bits of the survivors: what everyone takes for the
// bound. The shares are those that issue and docs promise.
TEST(CompressValues, StaysBelowTheBoundOfPositionsAndSurvivors) {
  struct Bar {
    DType dtype;
    double share;
  };
  constexpr size_t kCount = 1 << 20;
  for (const Bar bar : {Bar{DType::kF32, 0.80}, {DType::kF16, 0.80}, {DType::kBF16, 0.65}}) {
    for (const double zeros : {0.5, 0.8, 0.9, 0.95, 0.99}) {
      const double positions = -zeros * std::log2(zeros) - (1 - zeros) * std::log2(1 - zeros);
      const double bits = positions + (1 - zeros) * static_cast<double>(dtype_bits(bar.dtype));
      const size_t size = round_trip(pruned_normal(bar.dtype, kCount, zeros), bar.dtype);
      EXPECT_LE(8.0 * static_cast<double>(size), bar.share * bits * kCount)
          << dtype_name(bar.dtype) << " " << zeros;
    }
  }
}

TEST(CompressValues, MakesDenseFloatsSmaller) {
  constexpr size_t kCount = 1 << 20;
  const auto share = [&](DType dtype) {
    const ByteVector values = pruned_normal(dtype, kCount, 0);
    return static_cast<double>(round_trip(values, dtype)) / static_cast<double>(values.size());
  };
  EXPECT_LE(share(DType::kF32), 0.835);
  EXPECT_LE(share(DType::kBF16), 0.67);
}

TEST(CompressValues, ChoosesKindsByWhatTheValuesAre) {
  const auto positions = [](double zeros) {
    return kind_of(pruned_normal(DType::kF32, 100'000, zeros), DType::kF32, 0);
  };
  EXPECT_EQ(positions(0), 0);    // all
  EXPECT_EQ(positions(0.9), 1);  // gaps
  EXPECT_EQ(positions(0.5), 2);  // bitmask
  const auto values = [](double zeros) {
    return kind_of(pruned_normal(DType::kF32, 100'000, zeros), DType::kF32, 1);
  };
  EXPECT_EQ(values(0.9), 1);  // window
  EXPECT_EQ(values(0), 2);    // exponent
  EXPECT_EQ(kind_of(bytes_of_numbers(decimals(100'000, 5)), DType::kF32, 1), 3);
  EXPECT_EQ(kind_of(random_bits(8000), DType::kI64, 1), 0);  // planes
}

// One decision for each group instead of each value.
TEST(CompressValues, FindsBlocksAndRows) {
  std::vector<float> values(200'000);
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  const auto fill = [&](size_t group) {
    for (size_t i = 0; i < values.size(); i += group) {
      const bool kept = random() % 10 == 0;
      for (size_t j = i; j < std::min(i + group, values.size()); ++j) {
        values[j] = kept ? normal(random) : 0;
      }
    }
    return bytes_of_numbers(values);
  };
  const auto group_of = [](const ByteVector& bytes, uint64_t row) {
    const ByteVector small = compressed(bytes, DType::kF32, row);
    uint32_t group = 0;
    std::memcpy(&group, &small[4], sizeof(group));
    return group;
  };
  for (const uint32_t group : {1u, 2u, 4u, 8u, 64u}) EXPECT_EQ(group_of(fill(group), 999), group);
  EXPECT_EQ(group_of(fill(50), 50), 50u);  // rows
  EXPECT_EQ(group_of(fill(384), 384), 384u);
  round_trip(fill(384), DType::kF32, 384);  // of which the last is cut off
}

TEST(CompressValues, FindsIntegersInDecimals) {
  for (const int digits : {3, 4, 5, 6}) {
    std::vector<float> values = decimals(300'000, digits);
    values[7] = std::bit_cast<float>(0x7fc00001u);
    values[8] = 3.14159274f;
    values[9] = -0.0f;
    const size_t size = round_trip(bytes_of_numbers(values), DType::kF32);
    // Entropy of a normal value at that resolution, and 5 % for the codes.
    EXPECT_LT(size, values.size() * (digits * 10 / 3 + 5) / 8) << digits;
  }
}

TEST(CompressValues, RefusesBytesThatAreNoElements) {
  const ByteVector odd(7);
  EXPECT_EQ(compress_values(odd, DType::kF32, 1, serial).status().code(),
            ErrorCode::kInvalidArgument);
}

// Every bit is under one of the checksums.
TEST(DecompressValues, NoticesEveryFlippedBit) {
  const ByteVector values = pruned_normal(DType::kF32, 300, 0.5);
  const ByteVector small = compressed(values, DType::kF32);
  ByteVector out(values.size());
  for (size_t bit = 0; bit < 8 * small.size(); ++bit) {
    ByteVector flipped = small;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_FALSE(decompress_values(flipped, DType::kF32, out, serial).ok()) << bit;
  }
}

TEST(DecompressValues, NoticesEveryTruncation) {
  const ByteVector values = pruned_normal(DType::kF32, 300, 0.5);
  const ByteVector small = compressed(values, DType::kF32);
  ByteVector out(values.size());
  for (size_t size = 0; size < small.size(); ++size) {
    EXPECT_FALSE(decompress_values(std::span(small).first(size), DType::kF32, out, serial).ok());
    EXPECT_FALSE(decompress_values(std::span(small).last(size), DType::kF32, out, serial).ok());
  }
}

TEST(DecompressValues, NoticesAnotherTypeOrSize) {
  const ByteVector small = compressed(pruned_normal(DType::kF32, 300, 0.5), DType::kF32);
  ByteVector out(1200);
  EXPECT_EQ(decompress_values(small, DType::kBF16, std::span(out).first(600), serial).code(),
            SparseError::kSparseSize);
  EXPECT_EQ(decompress_values(small, DType::kF32, std::span(out).first(1196), serial).code(),
            SparseError::kSparseSize);
}

}  // namespace
}  // namespace winnow
