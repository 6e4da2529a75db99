#include "winnow/checkpoint/prune_settings.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/checked.h"
#include "winnow/core/default_selection.h"
#include "winnow/core/settings.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigText = 1 << 20;  // texts come from files; real ones are far shorter
constexpr int kMaxDepth = 3;                // object, list of level rules, rule

Status invalid(std::string message) {
  return Status(ErrorCode::kInvalidArgument, std::move(message));
}

Status bad_settings(std::string message) {
  return Status(ErrorCode::kBadSettings, std::move(message));
}

// The order of these patterns has no meaning, unlike that of level rules.
std::vector<std::string> sorted_unique(std::vector<std::string> patterns) {
  std::sort(patterns.begin(), patterns.end());
  patterns.erase(std::unique(patterns.begin(), patterns.end()), patterns.end());
  return patterns;
}

std::string lower(std::string_view name) {
  std::string text(name);
  for (char& letter : text) letter |= 'A' <= letter && letter <= 'Z' ? 0x20 : 0;
  return text;
}

// zeros_per_block, unless it is the whole block. The product may overflow; then nothing equals it.
std::optional<uint64_t> partial_zeros(const DataNormConfig& config) {
  const BlockShape block = config.sparse_block_shape;
  if (config.zeros_per_block == checked_mul(block.rows, block.cols)) return std::nullopt;
  return config.zeros_per_block;
}

// Adding 0.0 turns -0.0 into 0.0: both are the same level and must give the same text.
json to_json(const PruneSettings& settings) {
  const DataNormConfig& config = settings.config;
  const std::optional<uint64_t> zeros = partial_zeros(config);
  const std::optional<std::string> nm = nm_text(settings);
  json rules = json::array();
  for (const LevelRule& rule : settings.levels) {
    rules.push_back(json::array({rule.pattern, rule.sparsity_level + 0.0}));
  }
  return {{"block", {config.sparse_block_shape.rows, config.sparse_block_shape.cols}},
          {"exclude", sorted_unique(settings.exclude)},
          {"force", sorted_unique(settings.force)},
          {"include", sorted_unique(settings.include)},
          {"level", config.sparsity_level + 0.0},
          {"levels", std::move(rules)},
          {"nan", settings.nan == NanPolicy::kKeep ? "keep" : "error"},
          {"nm", nm ? json(*nm) : json(nullptr)},
          {"norm", lower(norm_name(config.norm))},
          {"rule", kDefaultRule},
          {"scope", scope_name(settings.scope)},
          {"zeros_per_block", zeros ? json(*zeros) : json("all")}};
}

// Reads the fields of an untrusted object. Keeps the first error, so that the settings can be built
// in one expression and checked once.
class FieldReader {
 public:
  explicit FieldReader(const json& object) : object_(object) {}

  const Status& status() const { return status_; }

  double level() { return number(field("level"), "level"); }

  // Returns kOtherRule for another rule. Older texts have neither rule nor force.
  Status rule() {
    const json& value = field("rule");
    if (value == kDefaultRule) return Status();
    const bool none = value.is_null() && field("force").is_null();
    if (!none && !value.is_number_unsigned())
      return bad_settings("field 'rule': expected a number");
    return Status(ErrorCode::kOtherRule,
                  "expected rule " + std::to_string(kDefaultRule) +
                      " of the default selection, found " +
                      (none ? "none: an older winnow recorded it, which pruned other tensors"
                            : "rule " + std::to_string(value.get<uint64_t>()) +
                                  ", under which other tensors are pruned"));
  }

  uint64_t unsigned_field(const json& value, const char* name) {
    if (!value.is_number_unsigned()) fail(name, "a number of at least 0");
    return value.is_number_unsigned() ? value.get<uint64_t>() : 0;
  }

  BlockShape block() {
    const json& value = field("block");
    if (!value.is_array() || value.size() != 2) {
      fail("block", "two numbers");
      return {};
    }
    return {unsigned_field(value[0], "block"), unsigned_field(value[1], "block")};
  }

  std::optional<uint64_t> zeros_per_block() {
    const json& value = field("zeros_per_block");
    if (value == "all") return std::nullopt;
    return unsigned_field(value, "zeros_per_block");
  }

  // The value that core has by the name that field `name` holds.
  template <typename T>
  T named(const char* name, Result<T> (*from_name)(std::string_view)) {
    const json& value = field(name);
    const Result<T> found =
        from_name(escape_name(value.is_string() ? value.get<std::string>() : value.dump()));
    if (!found.ok() && status_.ok()) status_ = bad_settings(std::string(found.status().message()));
    return found.ok() ? *found : T{};
  }

  NanPolicy nan() {
    const json& value = field("nan");
    if (value != "error" && value != "keep") fail("nan", "error or keep");
    return value == "keep" ? NanPolicy::kKeep : NanPolicy::kError;
  }

  std::vector<std::string> patterns(const char* name) {
    std::vector<std::string> result;
    for (const json& value : list(name)) {
      if (!value.is_string()) fail(name, "a list of texts");
      if (value.is_string()) result.push_back(value.get<std::string>());
    }
    return result;
  }

  // The same for a field that older texts lack.
  std::vector<std::string> optional_patterns(const char* name) {
    return field(name).is_null() ? std::vector<std::string>() : patterns(name);
  }

  std::vector<LevelRule> levels() {
    std::vector<LevelRule> result;
    for (const json& rule : list("levels")) {
      if (!rule.is_array() || rule.size() != 2 || !rule[0].is_string()) {
        fail("levels", "a list of [pattern, level]");
        break;
      }
      result.push_back({rule[0].get<std::string>(), number(rule[1], "levels")});
    }
    return result;
  }

 private:
  const json& field(const char* name) {
    static const json kMissing;
    const auto found = object_.find(name);
    return found == object_.end() ? kMissing : *found;
  }

  const json& list(const char* name) {
    static const json kEmpty = json::array();
    const json& value = field(name);
    if (!value.is_array()) fail(name, "a list");
    return value.is_array() ? value : kEmpty;
  }

  double number(const json& value, const char* name) {
    if (!value.is_number()) fail(name, "a number");
    return value.is_number() ? value.get<double>() : 0;
  }

  void fail(const char* name, const std::string& expected) {
    if (status_.ok())
      status_ = bad_settings("field '" + std::string(name) + "': expected " + expected);
  }

  const json& object_;
  Status status_;
};

// Parses the text without exceptions. The depth is limited while parsing, so that nothing deeply
// nested is ever built.
Result<json> parse_json(std::string_view text) {
  if (text.size() > kMaxConfigText) return bad_settings("it is longer than 1 MiB");
  bool too_deep = false;
  const auto limit_depth = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  json value = json::parse(text, limit_depth, /*allow_exceptions=*/false);
  if (too_deep || !value.is_object()) return bad_settings("it is no JSON object of settings");
  return value;
}

}  // namespace

Status validate(const PruneSettings& settings) {
  WINNOW_RETURN_IF_ERROR(check_share(settings.config.sparsity_level));
  for (const LevelRule& rule : settings.levels) {
    WINNOW_RETURN_IF_ERROR(check_share(rule.sparsity_level).with_context(rule.pattern));
  }
  if (settings.scope == Scope::kGlobal && !settings.levels.empty()) {
    return invalid("a global scope has one level: levels of single tensors cannot be set");
  }
  return validate(settings.config);
}

std::optional<std::string> nm_text(const PruneSettings& settings) {
  const DataNormConfig& config = settings.config;
  const BlockShape block = config.sparse_block_shape;
  const std::optional<uint64_t> zeros = partial_zeros(config);
  // Level 1 and blocks of 1 x M: every block keeps the same number of values.
  const bool applies = config.sparsity_level == 1 && block.rows == 1 && zeros &&
                       settings.levels.empty() && settings.scope == Scope::kTensor;
  if (!applies) return std::nullopt;
  return std::to_string(block.cols - *zeros) + ":" + std::to_string(block.cols);
}

std::string config_text(const PruneSettings& settings) {
  // The default error handler would throw if a caller breaks the precondition of UTF-8.
  return to_json(settings).dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<PruneSettings> parse_config_text(std::string_view text) {
  WINNOW_ASSIGN_OR_RETURN(const json object, parse_json(text));
  FieldReader reader(object);
  PruneSettings settings{
      .config = {.sparsity_level = reader.level(),
                 .sparse_block_shape = reader.block(),
                 .zeros_per_block = reader.zeros_per_block(),
                 .norm = reader.named("norm", norm_from_name)},
      .scope = reader.named("scope", scope_from_name),
      .include = reader.patterns("include"),
      .exclude = reader.patterns("exclude"),
      .force = reader.optional_patterns("force"),
      .levels = reader.levels(),
      .nan = reader.nan(),
  };
  // First: a malformed text is reported as such, whatever its rule.
  WINNOW_RETURN_IF_ERROR(reader.status());
  WINNOW_RETURN_IF_ERROR(reader.rule());
  if (Status status = validate(settings); !status.ok()) {
    return bad_settings(std::string(status.message()));
  }
  // Writing the settings again is the complete check: unknown fields, duplicates, spaces and all
  // other variants of JSON make the texts differ.
  if (config_text(settings) != text)
    return bad_settings("it is not in the form that winnow writes");
  return settings;
}

}  // namespace winnow
