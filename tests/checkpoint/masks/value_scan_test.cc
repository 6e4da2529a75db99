#include "checkpoint/masks/value_scan.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "winnow/core/values.h"

namespace winnow::checkpoint {
namespace {

// Against the core's own functions, which go through numbers instead of bits.
void expect_agreement(const void* values, DType dtype, uint64_t count) {
  const ValueScan seen = scan_values(values, dtype, count);
  EXPECT_EQ(seen.zeros, value_stats(values, dtype, count).zeros)
      << dtype_name(dtype) << " " << count;
  EXPECT_EQ(seen.any_nan, find_nan(values, dtype, count).has_value()) << dtype_name(dtype);
}

TEST(ScanValues, KnowsEveryHalf) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    expect_agreement(&half, DType::kF16, 1);
    expect_agreement(&half, DType::kBF16, 1);
  }
}

template <typename T>
void check_specials(DType dtype) {
  using Limits = std::numeric_limits<T>;
  for (const T value : {T{0}, -T{0}, T{1}, -T{1}, Limits::denorm_min(), -Limits::denorm_min(),
                        Limits::max(), Limits::lowest(), Limits::infinity(), -Limits::infinity(),
                        Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN()}) {
    expect_agreement(&value, dtype, 1);
  }
}

TEST(ScanValues, KnowsTheSpecialValuesOfTheLargerTypes) {
  check_specials<float>(DType::kF32);
  check_specials<double>(DType::kF64);
}

// Around the pieces of 2,048 values and the widths of vectors, at odd addresses.
TEST(ScanValues, CountsAllOfAnyLength) {
  std::vector<std::byte> bytes(8 * 4200 + 1);
  for (const uint64_t count : {0, 1, 7, 8, 9, 31, 33, 2047, 2048, 2049, 4096, 4199}) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
      EXPECT_EQ(scan_values(bytes.data() + 1, dtype, count).zeros, count);
    }
  }
}

TEST(ScanValues, SeesANanAnywhere) {
  std::vector<float> values(4199, std::numeric_limits<float>::infinity());
  EXPECT_FALSE(scan_values(values.data(), DType::kF32, values.size()).any_nan);
  for (size_t i = 0; i < values.size(); i += 13) {
    values[i] = std::numeric_limits<float>::quiet_NaN();
    ASSERT_TRUE(scan_values(values.data(), DType::kF32, values.size()).any_nan) << i;
    values[i] = 1;
  }
}

}  // namespace
}  // namespace winnow::checkpoint
