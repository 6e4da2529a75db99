#include "sparse/decimals.h"

#include <gtest/gtest.h>

#include "sparse/value_sets.h"

namespace winnow::sparse {
namespace {

std::span<const uint8_t> numbers_of(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

bool append(const std::vector<float>& values, Bytes& out) {
  StreamWriter streams;
  ValueScratch scratch(kernels::kernel_table(SimdLevel::kScalar));
  return append_decimals(numbers_of(values), 23, streams, scratch, out);
}

Status read(const Bytes& bytes, std::vector<float>& out) {
  StreamReader streams;
  ValueScratch scratch(kernels::kernel_table(SimdLevel::kScalar));
  ByteReader from(bytes);
  return read_decimals(from, streams, scratch,
                       {reinterpret_cast<uint8_t*>(out.data()), out.size() * sizeof(float)});
}

void check_back(const std::vector<float>& values) {
  Bytes bytes;
  ASSERT_TRUE(append(values, bytes));
  std::vector<float> back(values.size());
  const Status status = read(bytes, back);
  ASSERT_TRUE(status.ok()) << status.message();
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(back[i]), std::bit_cast<uint32_t>(values[i])) << values[i];
  }
}

TEST(Decimals, EveryNumberOfThreeDigitsComesBack) {
  std::vector<float> values;
  for (int decade = -6; decade <= 6; ++decade) {
    for (int significand = 100; significand < 1000; ++significand) {
      char text[32];
      std::snprintf(text, sizeof text, "%de%d", significand, decade);
      values.push_back(std::strtof(text, nullptr));
      values.push_back(-values.back());
    }
  }
  check_back(values);
}

TEST(Decimals, PowersOfTenAndTheirNeighboursComeBack) {
  std::vector<float> values;
  for (int decade = -14; decade <= 13; ++decade) {
    for (const char* significand : {"1.0000", "1.0001", "9.9999", "9.9998", "5.0000"}) {
      values.push_back(
          std::strtof((significand + std::string("e") + std::to_string(decade)).c_str(), nullptr));
    }
  }
  // Those beyond the lowest and highest decade are exceptions.
  while (values.size() < 2000) values.push_back(1.5f);
  check_back(values);
}

TEST(Decimals, OrdinaryFloatsAreNone) {
  Bytes bytes;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(10'000);
  for (float& value : values) value = normal(random);
  EXPECT_FALSE(append(values, bytes));
  EXPECT_TRUE(bytes.empty());
}

TEST(Decimals, AFewOthersAreExceptions) {
  std::vector<float> values = testing::decimals(3000, 4);
  values[17] = 0.123456789f;
  values[18] = std::bit_cast<float>(0xffc12345u);
  values[2999] = -0.0f;
  check_back(values);
}

TEST(Decimals, ManyOthersAreTooMany) {
  std::vector<float> values = testing::decimals(3000, 4);
  for (size_t i = 1; i < values.size(); i += 20) values[i] = 0.123456789f;
  Bytes bytes;
  EXPECT_FALSE(append(values, bytes));
}

// digits, decade, shift, first index (4 bytes), exceptions (4 bytes), then the streams.
TEST(Decimals, ParametersOutOfRangeAreRefused) {
  std::vector<float> values = testing::decimals(1000, 5), out(1000);
  values[3] = 0.123456789f;
  Bytes good;
  ASSERT_TRUE(append(values, good));
  ASSERT_TRUE(read(good, out).ok());
  const auto fault = [&](size_t at, uint8_t value) {
    Bytes bad = good;
    bad[at] = value;
    return read(bad, out).code();
  };
  EXPECT_EQ(fault(0, 2), SparseError::kSparseValues);
  EXPECT_EQ(fault(0, 7), SparseError::kSparseValues);
  EXPECT_EQ(fault(1, static_cast<uint8_t>(-13)), SparseError::kSparseValues);
  EXPECT_EQ(fault(1, 12), SparseError::kSparseValues);
  EXPECT_EQ(fault(2, 25), SparseError::kSparseValues);
  EXPECT_EQ(fault(6, 0x7f), SparseError::kSparseValues);   // the first index
  EXPECT_EQ(fault(10, 0x7f), SparseError::kSparseValues);  // the number of exceptions
}

}  // namespace
}  // namespace winnow::sparse
