// The settings that determine the content of a pruned checkpoint, and their text in its metadata.
//
//   PruneSettings settings{.config = {.sparsity_level = 0.8}};
//   std::string text = config_text(settings);                 // the value of winnow.config
//   Result<PruneSettings> again = parse_config_text(text);
//
// All functions are thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/scope.h"

namespace winnow {

/// The keys that winnow adds to `__metadata__`.
inline constexpr std::string_view kVersionKey = "winnow.version";
inline constexpr std::string_view kConfigKey = "winnow.config";

/// How NaN is treated in a tensor that is pruned: as an error, or as greater than all numbers.
enum class NanPolicy : uint8_t { kError, kKeep };

/// A level for the tensors that a pattern matches.
struct LevelRule {
  std::string pattern;
  double sparsity_level = 0;

  bool operator==(const LevelRule&) const = default;
};

/// Everything that determines which values are pruned, and nothing else.
struct PruneSettings {
  DataNormConfig config = {};
  Scope scope = Scope::kTensor;
  /// Patterns (tensor_patterns.h) that narrow the default selection (default_selection.h). If
  /// empty, everything that it selects is included.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};  ///< takes precedence over include and force
  /// Patterns for tensors that are pruned even if the default selection leaves them alone, and
  /// without its guard of rows. They count as included. Dtypes that cannot be pruned are still
  /// skipped.
  std::vector<std::string> force = {};
  std::vector<LevelRule> levels = {};  ///< override config.sparsity_level; the first match wins
  NanPolicy nan = NanPolicy::kError;
};

/// Returns kInvalidArgument, naming the field, for a level outside [0, 1], a block side of 0,
/// zeros_per_block outside its range, or level rules together with a global scope. Does not check
/// the patterns: make_plan compiles them.
Status validate(const PruneSettings& settings);

/// Returns "N:M" if the settings describe an N:M pattern (N kept of each M), otherwise nullopt.
std::optional<std::string> nm_text(const PruneSettings& settings);

/// Returns the settings as compact JSON, with sorted keys and all defaults:
///
///     {"block":[1,4],"exclude":[],"force":[],"include":[],"level":0.8,"levels":[["emb*",0.9]],
///      "nan":"error","nm":null,"norm":"l1","rule":1,"scope":"tensor","zeros_per_block":"all"}
///
/// (on one line). Settings with the same meaning give the same text: include, exclude and force are
/// sorted without duplicates, zeros_per_block is "all" for a whole block, and nm is derived from
/// the other fields. "rule" is kDefaultRule, because the selection depends on it. Precondition:
/// validate(settings) is ok, and all patterns are UTF-8.
std::string config_text(const PruneSettings& settings);

/// Parses a text that config_text wrote. The text is not trusted: the error is kBadSettings for
/// anything but the canonical form of valid settings, and for texts over 1 MiB, which are not read.
/// It is kOtherRule for settings that were recorded under another version of the default selection,
/// or before there was one, since they would select other tensors.
Result<PruneSettings> parse_config_text(std::string_view text);

}  // namespace winnow
