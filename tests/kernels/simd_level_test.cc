#include "winnow/kernels/simd_level.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace winnow {
namespace {

TEST(SimdLevel, ScalarIsAlwaysThereAndLast) {
  ASSERT_FALSE(available_simd_levels().empty());
  EXPECT_EQ(available_simd_levels().back(), SimdLevel::kScalar);
}

TEST(SimdLevel, TheEnvironmentNamesTheLevelAndTheApiOverridesIt) {
  // Read once in a process, so this test asks first and sets the variable before that.
  ASSERT_EQ(setenv("WINNOW_SIMD", "mmx", 1), 0);
  const Result<SimdLevel> unknown = active_simd_level();
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), ErrorCode::kUnavailableLevel);
  EXPECT_NE(unknown.status().message().find("'mmx'"), std::string_view::npos);
  EXPECT_NE(unknown.status().message().find("scalar"), std::string_view::npos);

  ASSERT_TRUE(set_simd_level(SimdLevel::kScalar).ok());
  ASSERT_TRUE(active_simd_level().ok());
  EXPECT_EQ(*active_simd_level(), SimdLevel::kScalar);
}

}  // namespace
}  // namespace winnow
