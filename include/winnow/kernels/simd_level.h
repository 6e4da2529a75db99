// Which SIMD level the kernels run at. Every level gives the same bits; only speed differs.
//
// The best level that the machine has is taken at first use, unless the environment variable
// WINNOW_SIMD (scalar, sse4, avx2 or avx512) names another. A name that is unknown, or that this
// machine or build does not have, is an error that every computing call then returns, never a
// silent fallback.
#pragma once

#include <span>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow {

/// In ascending order of speed.
enum class SimdLevel : unsigned char { kScalar, kSse4, kAvx2, kAvx512 };

/// "scalar", "sse4", "avx2" or "avx512".
std::string_view simd_level_name(SimdLevel level) noexcept;

/// The levels that this build and this machine have, best first; kScalar is always the last.
std::span<const SimdLevel> available_simd_levels() noexcept;

/// The level in force. Error: kUnavailableLevel when WINNOW_SIMD names none that is available.
Result<SimdLevel> active_simd_level();

/// Forces a level for the whole process, over WINNOW_SIMD too. Not to be called while another
/// thread computes. Error: kUnavailableLevel; the level in force then stays.
Status set_simd_level(SimdLevel level);

}  // namespace winnow
