#include "winnow/core/settings.h"

#include <gtest/gtest.h>

#include <cmath>

namespace winnow {
namespace {

template <typename T>
std::string message(const Result<T>& result) {
  return std::string(result.status().message());
}

std::string message(const Status& status) { return std::string(status.message()); }

std::string refusal(double level, int64_t rows, int64_t cols, std::optional<int64_t> zeros) {
  return message(data_norm_config(level, rows, cols, zeros, Norm::kL1));
}

TEST(DataNormConfigOfSettings, NamesTheFieldItsRangeAndWhatWasFound) {
  EXPECT_EQ(refusal(NAN, 1, 4, 4), "sparsity_level: expected a finite number, found nan");
  EXPECT_EQ(refusal(-INFINITY, 1, 4, 4), "sparsity_level: expected a finite number, found -inf");
  EXPECT_EQ(refusal(0.5, 0, 4, 4), "sparse_block_shape: expected sides of at least 1, found 0x4");
  EXPECT_EQ(refusal(0.5, 1, -1, 0), "sparse_block_shape: expected sides of at least 1, found 1x-1");
  EXPECT_EQ(refusal(0.5, 1, 4, -1), "zeros_per_block: expected at least 0, found -1");
  EXPECT_EQ(refusal(0.5, 2, 3, 7),
            "zeros_per_block: expected at most 6, the values of a block of 2x3, found 7");
  EXPECT_EQ(refusal(1.5, 2, 3, 6), "");  // levels are clamped, and warned of
}

TEST(DataNormConfigOfSettings, TakesZerosOfTheWholeBlockForNone) {
  const auto zeros = [](int64_t rows, int64_t cols, std::optional<int64_t> count) {
    return data_norm_config(0.5, rows, cols, count, Norm::kL2)->zeros_per_block;
  };
  EXPECT_EQ(zeros(2, 3, 6), std::nullopt);
  EXPECT_EQ(zeros(2, 3, std::nullopt), std::nullopt);
  EXPECT_EQ(zeros(2, 3, 0), 0u);
  EXPECT_EQ(zeros(2, kWholeDimension, kWholeDimension), std::nullopt);
  EXPECT_EQ(zeros(1, kWholeDimension, 3), 3u);
  EXPECT_EQ(data_norm_config(0.5, 2, 3, 6, Norm::kL2)->norm, Norm::kL2);
}

TEST(BlockValues, StopAtTheLargestInteger) {
  EXPECT_EQ(block_values(2, 3), 6);
  EXPECT_EQ(block_values(2, kWholeDimension), kWholeDimension);
}

TEST(CheckNm, WantsNWithinM) {
  EXPECT_TRUE(check_nm(0, 1).ok());
  EXPECT_TRUE(check_nm(4, 4).ok());
  EXPECT_EQ(message(check_nm(3, 2)),
            "nm: expected N:M with M of at least 1 and N from 0 to M, found 3:2");
  EXPECT_FALSE(check_nm(-1, 4).ok());
  EXPECT_FALSE(check_nm(0, 0).ok());
}

TEST(CheckShare, WantsALevelFromZeroToOne) {
  EXPECT_TRUE(check_share(0).ok());
  EXPECT_TRUE(check_share(1).ok());
  EXPECT_EQ(message(check_share(1.5)), "sparsity_level: expected a number from 0 to 1, found 1.5");
  EXPECT_FALSE(check_share(NAN).ok());
}

TEST(SparsityLevelHint, SaysWhatALevelThatIsNotAShareDoes) {
  EXPECT_EQ(sparsity_level_hint(90),
            "sparsity_level = 90 drops everything: it is a share from 0 to 1; write 0.9 for 90 %");
  EXPECT_EQ(sparsity_level_hint(1000),
            "sparsity_level = 1000 drops everything: it is a share from 0 to 1");
  EXPECT_EQ(sparsity_level_hint(-0.5),
            "sparsity_level = -0.5 drops nothing: it is a share from 0 to 1");
  for (const double level : {0.0, 0.5, 1.0, double(NAN), double(INFINITY)}) {
    EXPECT_EQ(sparsity_level_hint(level), "");
  }
}

TEST(NamesOfSettings, AreReadAndWritten) {
  EXPECT_EQ(*norm_from_name("L1"), Norm::kL1);
  EXPECT_EQ(*norm_from_name("l2"), Norm::kL2);
  EXPECT_EQ(message(norm_from_name("L3")), "norm: expected 'L1' or 'L2', found 'L3'");
  EXPECT_EQ(*scope_from_name("global"), Scope::kGlobal);
  EXPECT_EQ(message(scope_from_name("all")), "scope: expected 'tensor' or 'global', found 'all'");
  for (const Norm norm : {Norm::kL1, Norm::kL2}) EXPECT_EQ(*norm_from_name(norm_name(norm)), norm);
  for (const Scope scope : {Scope::kTensor, Scope::kGlobal}) {
    EXPECT_EQ(*scope_from_name(scope_name(scope)), scope);
  }
}

}  // namespace
}  // namespace winnow
