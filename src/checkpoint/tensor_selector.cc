#include "checkpoint/tensor_selector.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {
namespace {

constexpr size_t kShownNames = 3;     // in the message for a pattern that matches nothing
constexpr size_t kMaxShownName = 80;  // bytes of such a name

using Names = std::span<const std::string_view>;

bool matches_any(const Pattern& pattern, Names names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return pattern.matches(name); });
}

// The first pattern that matches one of the names.
std::optional<size_t> first_match(const std::vector<Pattern>& patterns, Names names) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (matches_any(patterns[i], names)) return i;
  }
  return std::nullopt;
}

std::string label(const Pattern& pattern, std::string_view kind) {
  return std::string(kind) + " pattern '" + escape_name(pattern.text()) + "'";
}

// The first bracket expression of a glob, as typed; empty if there is none.
std::string bracket_of(const std::string& glob) {
  const size_t open = glob.find('[');
  const size_t close = open == std::string::npos ? open : glob.find(']', open);
  return close == std::string::npos ? "" : glob.substr(open, close + 1 - open);
}

// The glob with its brackets escaped.
std::string with_plain_brackets(const std::string& glob) {
  std::string text;
  for (const char c : glob) {
    if (c == '[' || c == ']') text.push_back('\\');
    text.push_back(c);
  }
  return text;
}

// The hint for a glob that matches nothing because its brackets were meant literally. Names of
// tensors often contain brackets, such as "blocks[0].weight".
std::string bracket_hint(const Pattern& pattern, Names names) {
  const std::string bracket = bracket_of(pattern.text());
  if (pattern.text().starts_with("re:") || bracket.empty()) return "";
  const std::string plain = with_plain_brackets(pattern.text());
  const Result<Pattern> meant = Pattern::compile(plain);
  if (!meant.ok() || !matches_any(*meant, names)) return "";
  // Only if the pattern can be shown as typed: escaping it would double the backslashes.
  if (escape_path(pattern.text()) != pattern.text()) return "";
  return "; '" + bracket + "' is a pattern; escape it: '" + plain + "'";
}

}  // namespace

TensorSelector::TensorSelector(std::span<const TensorInfo> tensors,
                               std::span<const TensorAlias> aliases)
    : tensors_(tensors),
      aliases_(aliases),
      names_(tensors, aliases),
      judgements_(judge(tensors, names_)) {}

// Aliases take part as names of their own, with the tensor's dtype and shape: a scale may be known
// only by codes that are stored under another name.
std::vector<TensorSelector::Judgement> TensorSelector::judge(std::span<const TensorInfo> tensors,
                                                             const TensorNames& names) {
  std::vector<TensorFacts> facts;
  facts.reserve(names.all().size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (const std::string_view name : names.of(i)) {
      facts.push_back({name, tensors[i].dtype, tensors[i].shape});
    }
  }
  const std::vector<DefaultChoice> choices = default_selection(facts);
  std::vector<Judgement> judgements;
  judgements.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    // The first name that is left alone decides; without one, the first name that has a guard.
    size_t chosen = names.begin(i);
    for (size_t at = chosen; at < names.end(i) && !choices[chosen].in_file; ++at) {
      const bool guarded = choices[at].guard && !choices[chosen].guard;
      if (choices[at].in_file || guarded) chosen = at;
    }
    judgements.push_back({choices[chosen], facts[chosen].name});
  }
  return judgements;
}

Result<TensorSelector> TensorSelector::create(std::span<const TensorInfo> tensors,
                                              const PruneSettings& settings,
                                              std::span<const TensorAlias> aliases) {
  TensorSelector selector(tensors, aliases);
  WINNOW_ASSIGN_OR_RETURN(selector.include_, selector.compile(settings.include, "include"));
  WINNOW_ASSIGN_OR_RETURN(selector.exclude_, selector.compile(settings.exclude, "exclude"));
  WINNOW_ASSIGN_OR_RETURN(selector.force_, selector.compile(settings.force, "force"));
  std::vector<std::string> patterns;
  for (const LevelRule& rule : settings.levels) {
    patterns.push_back(rule.pattern);
    selector.levels_.push_back(rule.sparsity_level);
  }
  WINNOW_ASSIGN_OR_RETURN(selector.level_patterns_, selector.compile(patterns, "level"));
  for (size_t i = 0; i < selector.names_.tensors(); ++i) {
    selector.forced_.push_back(first_match(selector.force_, selector.names_.of(i)).has_value());
  }
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.include_, "include"));
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.level_patterns_, "level"));
  return selector;
}

Status TensorSelector::unknown_tensor(const Pattern& pattern, std::string_view kind) const {
  std::string message =
      concat(label(pattern, kind), ": expected a match among ", tensors_.size(), " tensors");
  if (!aliases_.empty()) {
    message += concat(" and ", aliases_.size(), aliases_.size() == 1 ? " alias" : " aliases");
  }
  message += ", found none";
  const std::string hint = bracket_hint(pattern, names_.all());
  if (!hint.empty()) return Status(ErrorCode::kUnknownTensor, message + hint);
  const char* separator = "; nearest: '";
  for (const std::string& name : nearest_names(pattern, tensors_, kShownNames, aliases_)) {
    message += separator + escape_name(name).substr(0, kMaxShownName) + "'";
    separator = ", '";
  }
  return Status(ErrorCode::kUnknownTensor, std::move(message));
}

Result<std::vector<Pattern>> TensorSelector::compile(const std::vector<std::string>& texts,
                                                     std::string_view kind) const {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) {
    WINNOW_ASSIGN_OR_RETURN(Pattern pattern, Pattern::compile(text));
    if (!matches_any(pattern, names_.all())) return unknown_tensor(pattern, kind);
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

// A pattern that has no effect only because of the rule is an error: its user meant to prune
// something. A pattern for tensors that cannot be pruned at all is not; the report mentions those.
Status TensorSelector::check_in_vain(const std::vector<Pattern>& patterns,
                                     std::string_view kind) const {
  for (const Pattern& pattern : patterns) {
    std::optional<size_t> example;
    bool in_vain = true;
    for (size_t i = 0; i < names_.tensors() && in_vain; ++i) {
      if (!matches_any(pattern, names_.of(i))) continue;
      const std::optional<LeftAlone>& rule = judgements_[i].choice.in_file;
      in_vain = rule && !(can_be_forced(*rule) && forced_[i]);
      if (in_vain && !example && can_be_forced(*rule)) example = i;
    }
    if (!in_vain || !example) continue;
    return Status(ErrorCode::kLeftAlone,
                  label(pattern, kind) + " matches only what the default selection leaves alone (" +
                      example_text(*example) + ")");
  }
  return Status();
}

std::string TensorSelector::example_text(size_t index) const {
  const auto quoted = [](std::string_view name) {
    return concat("'", escape_name(name).substr(0, kMaxShownName), "'");
  };
  const auto& [choice, judged] = judgements_[index];
  const std::string_view own = names_.of(index).front();
  return concat(quoted(judged), judged == own ? "" : ", stored as " + quoted(own), ": ",
                left_alone_text(*choice.in_file));
}

std::optional<SkipReason> TensorSelector::skip_reason(size_t index) const {
  const Names names = names_.of(index);
  if (first_match(exclude_, names)) return PatternReason::kExcluded;
  const bool force = forced_[index];
  if (!include_.empty() && !force && !first_match(include_, names)) {
    return PatternReason::kNotIncluded;
  }
  const std::optional<LeftAlone>& rule = judgements_[index].choice.in_file;
  if (!rule || (force && can_be_forced(*rule))) return std::nullopt;
  return *rule;
}

std::optional<SliceShape> TensorSelector::guard(size_t index) const {
  return forced_[index] ? std::nullopt : judgements_[index].choice.guard;
}

double TensorSelector::level(size_t index, double otherwise) const {
  const std::optional<size_t> rule = first_match(level_patterns_, names_.of(index));
  return rule ? levels_[*rule] : otherwise;
}

}  // namespace winnow::checkpoint
