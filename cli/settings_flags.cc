#include "settings_flags.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/status_macros.h"
#include "console.h"
#include "threads/tbb_parallel_for.h"
#include "winnow/base/checked.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace winnow::cli {
namespace {

constexpr uint64_t kMaxThreads = 1024;
// The product of two sides fits into 64 bits.
constexpr uint64_t kMaxBlockSide = uint64_t{1} << 31;

Status usage(std::string_view flag, std::string_view expected, std::string_view found) {
  return Status(
      ErrorCode::kInvalidArgument,
      std::string(flag) + ": expected " + std::string(expected) + ", found '" + shown(found) + "'");
}

// A number that is all of `text`; no sign, no spaces, no locale.
template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

// The same for a number that may be too small or too large for a double: from_chars says which
// texts are numbers, and strtod, what the nearest double is. (The tool leaves the locale at "C".)
std::optional<double> decimal(std::string_view text) {
  double value{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (rest != end || text.starts_with('-')) return std::nullopt;
  if (error == std::errc::result_out_of_range)
    return std::strtod(std::string(text).c_str(), nullptr);
  return error == std::errc() ? std::optional<double>(value) : std::nullopt;
}

Result<double> level_from(std::string_view flag, std::string_view text) {
  const std::optional<double> level = decimal(text);
  // Put so that a NaN is refused.
  if (!level || !(*level >= 0 && *level <= 1)) return usage(flag, "a number from 0 to 1", text);
  return *level;
}

// Two numbers from `low` to kMaxBlockSide with `separator` between them.
std::optional<std::pair<uint64_t, uint64_t>> pair_from(std::string_view text, char separator,
                                                       uint64_t low) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const auto first = number<uint64_t>(text.substr(0, at));
  const auto second = number<uint64_t>(text.substr(at + 1));
  if (!first || !second || *first < low || *second < low) return std::nullopt;
  if (*first > kMaxBlockSide || *second > kMaxBlockSide) return std::nullopt;
  return std::pair(*first, *second);
}

// True for `yes`, false for `no` and if the flag is not given.
Result<bool> choice(std::string_view flag, const std::optional<std::string>& text,
                    std::string_view no, std::string_view yes) {
  if (!text || *text == no) return false;
  if (*text == yes) return true;
  return usage(flag, std::string(no) + " or " + std::string(yes), *text);
}

Status check_nm_alone(const SettingsFlags& flags) {
  const char* other = flags.sparsity_level      ? "--sparsity-level"
                      : flags.block             ? "--block"
                      : flags.zeros_per_block   ? "--zeros-per-block"
                      : !flags.levels.empty()   ? "--level"
                      : flags.scope == "global" ? "--scope global"
                                                : nullptr;
  if (other == nullptr) return Status();
  return Status(ErrorCode::kInvalidArgument,
                "--nm: it sets level, block and zeros itself and cannot be used together with " +
                    std::string(other));
}

Result<DataNormConfig> nm_from(const SettingsFlags& flags, Norm norm) {
  WINNOW_RETURN_IF_ERROR(check_nm_alone(flags));
  const auto nm = pair_from(*flags.nm, ':', 0);
  if (!nm || nm->second == 0 || nm->first > nm->second) {
    return usage("--nm", "N:M with M at least 1 and N at most M", *flags.nm);
  }
  return nm_config(nm->first, nm->second, norm);
}

Result<DataNormConfig> config_from(const SettingsFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const bool l2, choice("--norm", flags.norm, "l1", "l2"));
  if (flags.nm) return nm_from(flags, l2 ? Norm::kL2 : Norm::kL1);
  DataNormConfig config;
  config.norm = l2 ? Norm::kL2 : Norm::kL1;
  if (flags.sparsity_level) {
    WINNOW_ASSIGN_OR_RETURN(config.sparsity_level,
                            level_from("--sparsity-level", *flags.sparsity_level));
  }
  if (flags.block) {
    const auto block = pair_from(*flags.block, 'x', 1);
    if (!block) return usage("--block", "HxW with sides of at least 1", *flags.block);
    config.sparse_block_shape = {block->first, block->second};
  }
  if (flags.zeros_per_block && flags.zeros_per_block != "all") {
    const uint64_t whole = config.sparse_block_shape.rows * config.sparse_block_shape.cols;
    config.zeros_per_block = number<uint64_t>(*flags.zeros_per_block);
    if (!config.zeros_per_block || *config.zeros_per_block > whole) {
      return usage("--zeros-per-block", "all or a number from 0 to " + std::to_string(whole),
                   *flags.zeros_per_block);
    }
  }
  return config;
}

Result<std::vector<LevelRule>> levels_from(const std::vector<std::string>& texts) {
  std::vector<LevelRule> rules;
  for (const std::string& text : texts) {
    // The last one: patterns may hold it, levels do not.
    const size_t at = text.rfind('=');
    if (at == std::string::npos) return usage("--level", "PAT=LEVEL", text);
    WINNOW_ASSIGN_OR_RETURN(const double level, level_from("--level", text.substr(at + 1)));
    rules.push_back({text.substr(0, at), level});
  }
  return rules;
}

// Patterns are compiled again with the plan; here only their form is checked, before files are
// read.
Status check_patterns(std::string_view flag, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    WINNOW_RETURN_IF_ERROR(Pattern::compile(pattern).status().with_context(flag));
  }
  return Status();
}

}  // namespace

Result<PruneSettings> settings_from(const SettingsFlags& flags) {
  PruneSettings settings;
  settings.include = flags.include;
  settings.exclude = flags.exclude;
  settings.force = flags.force;
  WINNOW_ASSIGN_OR_RETURN(settings.config, config_from(flags));
  WINNOW_ASSIGN_OR_RETURN(const bool global, choice("--scope", flags.scope, "tensor", "global"));
  WINNOW_ASSIGN_OR_RETURN(const bool keep, choice("--nan", flags.nan, "error", "keep"));
  WINNOW_ASSIGN_OR_RETURN(settings.levels, levels_from(flags.levels));
  settings.scope = global ? Scope::kGlobal : Scope::kTensor;
  settings.nan = keep ? NanPolicy::kKeep : NanPolicy::kError;
  if (global && !flags.levels.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--level: a global scope has one level; it cannot be used together with "
                  "--scope global");
  }
  WINNOW_RETURN_IF_ERROR(check_patterns("--include", settings.include));
  WINNOW_RETURN_IF_ERROR(check_patterns("--exclude", settings.exclude));
  WINNOW_RETURN_IF_ERROR(check_patterns("--force", settings.force));
  for (const LevelRule& rule : settings.levels) {
    WINNOW_RETURN_IF_ERROR(check_patterns("--level", {rule.pattern}));
  }
  WINNOW_RETURN_IF_ERROR(validate(settings));
  return settings;
}

Result<size_t> thread_count(const RunFlags& flags) {
  if (!flags.threads) return usable_cores();
  const std::optional<uint64_t> threads = number<uint64_t>(*flags.threads);
  if (!threads || *threads == 0 || *threads > kMaxThreads) {
    return usage("--threads", "a number from 1 to " + std::to_string(kMaxThreads), *flags.threads);
  }
  return static_cast<size_t>(*threads);
}

}  // namespace winnow::cli
