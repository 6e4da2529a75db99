#include "settings_flags.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "console.h"
#include "threads/tbb_parallel_for.h"
#include "units.h"
#include "winnow/base/concat.h"
#include "winnow/checkpoint/max_memory.h"
#include "winnow/checkpoint/tensor_patterns.h"
#include "winnow/core/settings.h"

namespace winnow::cli {
namespace {

constexpr uint64_t kMaxThreads = 1024;

Status usage(std::string_view flag, std::string_view expected, std::string_view found) {
  return Status(ErrorCode::kInvalidArgument,
                concat(flag, ": expected ", expected, ", found '", shown(found), "'"));
}

// The library's answer, its error "FIELD: ..." as one of the flag.
Status in_flag(std::string_view flag, const Status& status) {
  if (status.ok()) return status;
  return Status(status.code(), concat(flag, status.message().substr(status.message().find(':'))));
}

template <typename T>
Result<T> in_flag(std::string_view flag, Result<T> result) {
  return result.ok() ? std::move(result) : in_flag(flag, result.status());
}

// A number that is all of `text`; no plus, no spaces, no locale, and a minus only if T has it.
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
  if (!level) return usage(flag, "a number such as 0.5", text);
  WINNOW_RETURN_IF_ERROR(in_flag(flag, check_share(*level)));
  return *level;
}

// Two integers with the separator of `form`, such as "N:M", between them.
Result<std::pair<int64_t, int64_t>> pair_from(std::string_view flag, std::string_view form,
                                              std::string_view text) {
  const size_t at = std::min(text.find(form[1]), text.size());
  const auto first = number<int64_t>(text.substr(0, at));
  const auto second = number<int64_t>(text.substr(std::min(at + 1, text.size())));
  if (!first || !second) return usage(flag, concat(form, ", integers of 64 bits"), text);
  return std::pair(*first, *second);
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
  WINNOW_ASSIGN_OR_RETURN(const auto nm, pair_from("--nm", "N:M", *flags.nm));
  WINNOW_RETURN_IF_ERROR(in_flag("--nm", check_nm(nm.first, nm.second)));
  return nm_config(static_cast<uint64_t>(nm.first), static_cast<uint64_t>(nm.second), norm);
}

Result<DataNormConfig> config_from(const SettingsFlags& flags) {
  DataNormConfig config;
  WINNOW_ASSIGN_OR_RETURN(config.norm,
                          in_flag("--norm", norm_from_name(shown(flags.norm.value_or("l1")))));
  if (flags.nm) return nm_from(flags, config.norm);
  if (flags.sparsity_level) {
    WINNOW_ASSIGN_OR_RETURN(config.sparsity_level,
                            level_from("--sparsity-level", *flags.sparsity_level));
  }
  if (flags.block) {
    WINNOW_ASSIGN_OR_RETURN(const auto block, pair_from("--block", "HxW", *flags.block));
    const auto [rows, cols] = block;
    WINNOW_RETURN_IF_ERROR(in_flag("--block", check_sparse_block_shape(rows, cols)));
    config.sparse_block_shape = {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)};
  }
  if (flags.zeros_per_block && flags.zeros_per_block != "all") {
    config.zeros_per_block = number<uint64_t>(*flags.zeros_per_block);
    if (!config.zeros_per_block)
      return usage("--zeros-per-block", "all or a whole number", *flags.zeros_per_block);
    WINNOW_RETURN_IF_ERROR(in_flag("--zeros-per-block", validate(config)));
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
  WINNOW_ASSIGN_OR_RETURN(
      settings.scope, in_flag("--scope", scope_from_name(shown(flags.scope.value_or("tensor")))));
  if (flags.nan == "keep")
    settings.nan = NanPolicy::kKeep;
  else if (flags.nan.value_or("error") != "error")
    return usage("--nan", "error or keep", *flags.nan);
  WINNOW_ASSIGN_OR_RETURN(settings.levels, levels_from(flags.levels));
  WINNOW_RETURN_IF_ERROR(validate(settings).with_context("--level"));  // the rest is checked
  WINNOW_RETURN_IF_ERROR(check_patterns("--include", settings.include));
  WINNOW_RETURN_IF_ERROR(check_patterns("--exclude", settings.exclude));
  WINNOW_RETURN_IF_ERROR(check_patterns("--force", settings.force));
  for (const LevelRule& rule : settings.levels) {
    WINNOW_RETURN_IF_ERROR(check_patterns("--level", {rule.pattern}));
  }
  return settings;
}

Status check_target(const Arguments& arguments) {
  if (arguments.in_place && !arguments.output.empty()) {
    return Status(ErrorCode::kInvalidArgument, "--in-place: expected no --output besides it");
  }
  if (arguments.in_place || arguments.dry_run || !arguments.output.empty()) return Status();
  return Status(ErrorCode::kInvalidArgument, "--output: expected a path (or --dry-run)");
}

Result<size_t> thread_count(const RunFlags& flags) {
  if (!flags.threads) return usable_cores();
  const std::optional<uint64_t> threads = number<uint64_t>(*flags.threads);
  if (!threads || *threads == 0 || *threads > kMaxThreads) {
    return usage("--threads", "a number from 1 to " + std::to_string(kMaxThreads), *flags.threads);
  }
  return static_cast<size_t>(*threads);
}

Result<uint64_t> max_memory(const RunFlags& flags) {
  if (!flags.max_memory) return kDefaultMaxMemory;
  const std::optional<uint64_t> bytes = parse_bytes(*flags.max_memory);
  if (bytes) return *bytes;
  return usage("--max-memory", "a size such as 512M or 2GiB", *flags.max_memory);
}

}  // namespace winnow::cli
