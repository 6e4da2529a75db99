#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/highway_targets.h"
//
#include "hwy/highway.h"
#include "kernels/kernel_table.h"
#include "winnow/kernels/simd_level.h"

namespace winnow {
namespace {

struct LevelInfo {
  SimdLevel level;
  std::string_view name;
  int64_t target;  // Highway's bit
};

// Best first.
#if HWY_ARCH_X86
constexpr LevelInfo kLevels[] = {{SimdLevel::kAvx512, "avx512", HWY_AVX3},
                                 {SimdLevel::kAvx2, "avx2", HWY_AVX2},
                                 {SimdLevel::kSse4, "sse4", HWY_SSE4},
                                 {SimdLevel::kScalar, "scalar", HWY_SCALAR}};
#else
constexpr LevelInfo kLevels[] = {{SimdLevel::kScalar, "scalar", HWY_SCALAR}};
#endif

std::vector<SimdLevel> detect_levels() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<SimdLevel> levels;
  for (const LevelInfo& info : kLevels) {
    const bool runs = info.level == SimdLevel::kScalar || (supported & info.target) != 0;
    if (runs) levels.push_back(info.level);
  }
  return levels;
}

Status unavailable(std::string_view name, std::string_view source) {
  std::string text(source);
  text.append("SIMD level '").append(name).append("' is not available; this machine has");
  for (SimdLevel level : available_simd_levels()) text.append(" ").append(simd_level_name(level));
  return {ErrorCode::kUnavailableLevel, text};
}

bool is_available(SimdLevel level) noexcept {
  return std::ranges::count(available_simd_levels(), level) > 0;
}

// An unknown name is an error, not the best level: a script that asks for one has a reason.
Result<SimdLevel> level_from_environment() {
  const char* name = std::getenv("WINNOW_SIMD");
  if (name == nullptr || *name == '\0') return available_simd_levels().front();
  for (const LevelInfo& info : kLevels) {
    if (info.name == name && is_available(info.level)) return info.level;
  }
  return unavailable(name, "WINNOW_SIMD: ");
}

// An int and not a SimdLevel, so that "none" has a value of its own.
constexpr int kNotForced = -1;
std::atomic<int> forced_level{kNotForced};

}  // namespace

std::string_view simd_level_name(SimdLevel level) noexcept {
  for (const LevelInfo& info : kLevels) {
    if (info.level == level) return info.name;
  }
  return "unknown";
}

std::span<const SimdLevel> available_simd_levels() noexcept {
  static const std::vector<SimdLevel> levels = detect_levels();
  return levels;
}

Result<SimdLevel> active_simd_level() {
  const int forced = forced_level.load(std::memory_order_relaxed);
  if (forced != kNotForced) return static_cast<SimdLevel>(forced);
  // Once in a process: getenv is not safe beside a thread that changes the environment.
  static const Result<SimdLevel> from_environment = level_from_environment();
  return from_environment;
}

Status set_simd_level(SimdLevel level) {
  if (!is_available(level)) return unavailable(simd_level_name(level), "");
  forced_level.store(static_cast<int>(level), std::memory_order_relaxed);
  return {};
}

namespace kernels {
namespace {

/// Built once, when it is first asked for: what fills the table of a level is compiled for that
/// level, and may hold instructions that a machine without it has not.
template <SimdLevel kLevel>
const KernelTable& table_of() noexcept {
  static const KernelTable table = [] {
    KernelTable out;
    fill_key_kernels(kLevel, out);
    fill_score_kernels(kLevel, out);
    fill_drop_kernels(kLevel, out);
    fill_mask_kernels(kLevel, out);
    fill_compact_kernels(kLevel, out);
    fill_join_kernels(kLevel, out);
    return out;
  }();
  return table;
}

}  // namespace

const KernelTable& kernel_table(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::kSse4:
      return table_of<SimdLevel::kSse4>();
    case SimdLevel::kAvx2:
      return table_of<SimdLevel::kAvx2>();
    case SimdLevel::kAvx512:
      return table_of<SimdLevel::kAvx512>();
    default:
      return table_of<SimdLevel::kScalar>();
  }
}

}  // namespace kernels
}  // namespace winnow
