// The settings that decide what a pruned checkpoint holds, and their text in its metadata.
//
//   PruneSettings settings{.config = {.sparsity_level = 0.8}};
//   std::string text = config_text(settings);                 // goes into winnow.config
//   Result<PruneSettings> again = parse_config_text(text);    // equal work, equal text
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

/// What a NaN in a tensor that is pruned means: an error, or a value that ranks above all numbers.
enum class NanPolicy : uint8_t { kError, kKeep };

/// A level for the tensors that a pattern matches.
struct LevelRule {
  std::string pattern;
  double sparsity_level = 0;

  bool operator==(const LevelRule&) const = default;
};

/// Everything that decides which values fall, and nothing else.
struct PruneSettings {
  DataNormConfig config = {};
  Scope scope = Scope::kTensor;
  /// Patterns (see tensor_patterns.h) that narrow the default selection (default_selection.h).
  /// Empty: all that it takes.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};  ///< beats include and force
  /// Patterns for tensors that are pruned whatever the default selection says, and without its
  /// guard of rows. They count as included. Types that cannot be pruned stay as they are.
  std::vector<std::string> force = {};
  std::vector<LevelRule> levels = {};  ///< in place of config.sparsity_level; the first match wins
  NanPolicy nan = NanPolicy::kError;
};

/// Ok, or kInvalidArgument naming the field: a level outside [0, 1], a block side of 0,
/// zeros_per_block out of its range, level rules together with a global scope.
/// Patterns are compiled where the plan is made, see prune_plan.h.
Status validate(const PruneSettings& settings);

/// The N:M pattern (N kept of each M) that the settings amount to, as "N:M"; otherwise empty.
std::optional<std::string> nm_text(const PruneSettings& settings);

/// The settings as compact JSON with sorted keys and every default spelled out:
///
///     {"block":[1,4],"exclude":[],"force":[],"include":[],"level":0.8,"levels":[["emb*",0.9]],
///      "nan":"error","nm":null,"norm":"l1","rule":1,"scope":"tensor","zeros_per_block":"all"}
///
/// (on one line). Settings that do the same work give the same text: include, exclude and force are
/// sorted and free of duplicates, zeros_per_block of a whole block is "all", nm follows from the
/// others. "rule" is kDefaultRule: what include leaves out depends on it.
/// Precondition: validate(settings) is ok and all patterns are UTF-8.
std::string config_text(const PruneSettings& settings);

/// The settings of a text that config_text wrote. The text is not trusted: anything but the exact
/// canonical form of valid settings is kBadSettings. Settings that were recorded under another rule
/// of the default selection, or before there was one, are kOtherRule: they would be checked against
/// masks of other tensors. Texts over 1 MiB are refused unread.
Result<PruneSettings> parse_config_text(std::string_view text);

}  // namespace winnow
