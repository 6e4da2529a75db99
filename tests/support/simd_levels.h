// Tests that run once for each SIMD level of this machine.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "winnow/kernels/simd_level.h"

namespace winnow::testing {

/// For INSTANTIATE_TEST_SUITE_P of a TestWithParam<SimdLevel>.
inline auto every_level() {
  return ::testing::ValuesIn(available_simd_levels().begin(), available_simd_levels().end());
}

inline std::string level_name(const ::testing::TestParamInfo<SimdLevel>& info) {
  return std::string(simd_level_name(info.param));
}

}  // namespace winnow::testing
