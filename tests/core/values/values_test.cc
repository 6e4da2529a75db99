// apply_mask and the questions one asks of values, against loops written out here.
#include "winnow/core/values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "support/reference_mask.h"
#include "support/values.h"
#include "winnow/core/matrix_view.h"
#include "winnow/kernels/simd_level.h"

namespace winnow {
namespace {

TEST(ApplyMask, ZeroesDroppedElementsAndKeepsTheBitsOfAllOthers) {
  for (const SimdLevel level : available_simd_levels()) {
    ASSERT_TRUE(set_simd_level(level).ok());
    for (const DType dtype : {DType::kU8, DType::kF16, DType::kF32, DType::kF64}) {
      const size_t size = dtype_bits(dtype) / 8;
      for (size_t count = 0; count < 150; ++count) {
        const size_t misalignment = count % 13;
        std::vector<unsigned char> values(misalignment + count * size + 1, 0xab), expected = values;
        std::vector<uint8_t> mask(count);
        for (size_t i = 0; i < count; ++i) {
          mask[i] = i * 7 % 3 != 0;
          if (mask[i] == 0) std::memset(expected.data() + misalignment + i * size, 0, size);
        }
        apply_mask(values.data() + misalignment, dtype, mask);
        ASSERT_EQ(values, expected) << simd_level_name(level) << " " << count;
      }
    }
  }
}

TEST(FindMaskViolation, NamesTheFirstElementThatIsNotWhatTheMaskMakesOfIt) {
  const float original[] = {1, -0.0f, 3, 4};
  const std::vector<uint8_t> mask = {1, 1, 0, 1};
  float pruned[] = {1, -0.0f, 0, 4};
  EXPECT_EQ(find_mask_violation(original, pruned, DType::kF32, mask), std::nullopt);
  pruned[2] = -0.0f;
  EXPECT_EQ(find_mask_violation(original, pruned, DType::kF32, mask), 2u);
  pruned[1] = 0.0f;
  EXPECT_EQ(find_mask_violation(original, pruned, DType::kF32, mask), 1u);
}

TEST(ValueAt, WidensEveryHalfExactly) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const double f16 = reference::half_to_double(half, 5, 10);
    const double bf16 = reference::half_to_double(half, 8, 7);
    const double got_f16 = value_at(&half, DType::kF16, 0);
    const double got_bf16 = value_at(&half, DType::kBF16, 0);
    ASSERT_TRUE(got_f16 == f16 || (std::isnan(got_f16) && std::isnan(f16))) << bits;
    ASSERT_TRUE(got_bf16 == bf16 || (std::isnan(got_bf16) && std::isnan(bf16))) << bits;
    ASSERT_EQ(std::signbit(got_f16), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(std::signbit(got_bf16), (bits & 0x8000) != 0) << bits;
  }
}

TEST(FindNan, FindsTheLowestIndexWhereverItStands) {
  for (const DType dtype : testing::kPrunable) {
    for (const size_t at : {size_t{0}, size_t{1023}, size_t{1024}, size_t{2999}}) {
      testing::Values values(dtype, {1, 3000}, 3000, 1);
      for (size_t i = 0; i < 3000; ++i) values.set(0, i, i >= at && i % 2 == at % 2 ? NAN : 1.0);
      EXPECT_EQ(find_nan(values.view().data, dtype, 3000), at) << dtype_name(dtype);
      EXPECT_EQ(find_nan(values.view().data, dtype, at), std::nullopt) << dtype_name(dtype);
    }
  }
}

TEST(ValueStats, SummariseFiniteValuesApartFromTheOthers) {
  const double values[] = {-3, 0, -0.0, NAN, INFINITY, 1, -INFINITY};
  const ValueStats stats = value_stats(values, DType::kF64, 7);
  EXPECT_EQ(stats.zeros, 2u);
  EXPECT_EQ(stats.nans, 1u);
  EXPECT_EQ(stats.infinities, 2u);
  EXPECT_EQ(stats.min, -INFINITY);
  EXPECT_EQ(stats.max, INFINITY);
  EXPECT_EQ(stats.mean_abs, 1.0);  // (3 + 0 + 0 + 1) / 4
}

TEST(ValueStats, AreZeroWhereThereIsNothing) {
  const float nan[] = {NAN};
  for (const uint64_t count : {0, 1}) {
    const ValueStats stats = value_stats(nan, DType::kF32, count);
    EXPECT_EQ(stats.min, 0);
    EXPECT_EQ(stats.max, 0);
    EXPECT_EQ(stats.mean_abs, 0);
  }
}

}  // namespace
}  // namespace winnow
