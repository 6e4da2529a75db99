#include "checkpoint/tensor_selector.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

constexpr size_t kShownNames = 3;     // in the message for a pattern that matches nothing
constexpr size_t kMaxShownName = 80;  // bytes of such a name

std::vector<DefaultChoice> choices_of(std::span<const TensorInfo> tensors) {
  std::vector<TensorFacts> facts;
  facts.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) {
    facts.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  return default_selection(facts);
}

std::optional<size_t> first_match(const std::vector<Pattern>& patterns, std::string_view name) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (patterns[i].matches(name)) return i;
  }
  return std::nullopt;
}

bool matches_any(const Pattern& pattern, std::span<const TensorInfo> tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const TensorInfo& tensor) { return pattern.matches(tensor.name); });
}

std::string label(const Pattern& pattern, std::string_view kind) {
  return std::string(kind) + " pattern '" + escape_name(pattern.text()) + "'";
}

// The first bracket expression of a glob, as it was typed; empty where there is none.
std::string bracket_of(const std::string& glob) {
  const size_t open = glob.find('[');
  const size_t close = open == std::string::npos ? open : glob.find(']', open);
  return close == std::string::npos ? "" : glob.substr(open, close + 1 - open);
}

// A glob with its brackets as plain characters.
std::string with_plain_brackets(const std::string& glob) {
  std::string text;
  for (const char c : glob) {
    if (c == '[' || c == ']') text.push_back('\\');
    text.push_back(c);
  }
  return text;
}

// What to say where a glob matches nothing because its brackets were meant as a part of the name.
std::string bracket_hint(const Pattern& pattern, std::span<const TensorInfo> tensors) {
  const std::string bracket = bracket_of(pattern.text());
  if (pattern.text().starts_with("re:") || bracket.empty()) return "";
  const std::string plain = with_plain_brackets(pattern.text());
  const Result<Pattern> meant = Pattern::compile(plain);
  if (!meant.ok() || !matches_any(*meant, tensors)) return "";
  // As it is to be typed: escape_path would double the backslashes.
  if (escape_path(pattern.text()) != pattern.text()) return "";
  return "; '" + bracket + "' is a pattern; escape it: '" + plain + "'";
}

Status unknown_tensor(const Pattern& pattern, std::span<const TensorInfo> tensors,
                      std::string_view kind) {
  std::string message = label(pattern, kind) + ": expected a match among " +
                        std::to_string(tensors.size()) + " tensors, found none";
  const std::string hint = bracket_hint(pattern, tensors);
  if (!hint.empty()) return Status(ErrorCode::kUnknownTensor, message + hint);
  const char* separator = "; nearest: '";
  for (const std::string& name : nearest_names(pattern, tensors, kShownNames)) {
    message += separator + escape_name(name).substr(0, kMaxShownName) + "'";
    separator = ", '";
  }
  return Status(ErrorCode::kUnknownTensor, std::move(message));
}

}  // namespace

TensorSelector::TensorSelector(std::span<const TensorInfo> tensors)
    : tensors_(tensors), choices_(choices_of(tensors)) {}

Result<TensorSelector> TensorSelector::create(std::span<const TensorInfo> tensors,
                                              const PruneSettings& settings) {
  TensorSelector selector(tensors);
  WINNOW_ASSIGN_OR_RETURN(selector.include_, selector.compile(settings.include, "include"));
  WINNOW_ASSIGN_OR_RETURN(selector.exclude_, selector.compile(settings.exclude, "exclude"));
  WINNOW_ASSIGN_OR_RETURN(selector.force_, selector.compile(settings.force, "force"));
  std::vector<std::string> patterns;
  for (const LevelRule& rule : settings.levels) {
    patterns.push_back(rule.pattern);
    selector.levels_.push_back(rule.sparsity_level);
  }
  WINNOW_ASSIGN_OR_RETURN(selector.level_patterns_, selector.compile(patterns, "level"));
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.include_, "include"));
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.level_patterns_, "level"));
  return selector;
}

Result<std::vector<Pattern>> TensorSelector::compile(const std::vector<std::string>& texts,
                                                     std::string_view kind) const {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) {
    WINNOW_ASSIGN_OR_RETURN(Pattern pattern, Pattern::compile(text));
    if (!matches_any(pattern, tensors_)) return unknown_tensor(pattern, tensors_, kind);
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

// A pattern that does nothing because of the rule alone was not meant so. One for integers does
// nothing either, but there nothing else can be done: that stays a note in the report.
Status TensorSelector::check_in_vain(const std::vector<Pattern>& patterns,
                                     std::string_view kind) const {
  for (const Pattern& pattern : patterns) {
    const TensorInfo* example = nullptr;
    LeftAlone reason = {};
    bool in_vain = true;
    for (size_t i = 0; i < tensors_.size() && in_vain; ++i) {
      if (!pattern.matches(tensors_[i].name)) continue;
      const std::optional<LeftAlone>& rule = choices_[i].in_file;
      in_vain = rule && !(can_be_forced(*rule) && forced(i));
      if (!in_vain || example != nullptr || !can_be_forced(*rule)) continue;
      example = &tensors_[i];
      reason = *rule;
    }
    if (!in_vain || example == nullptr) continue;
    return Status(ErrorCode::kLeftAlone,
                  label(pattern, kind) +
                      " matches only what the default selection leaves alone ('" +
                      escape_name(example->name).substr(0, kMaxShownName) +
                      "': " + std::string(left_alone_text(reason)) + ")");
  }
  return Status();
}

bool TensorSelector::forced(size_t index) const {
  return first_match(force_, tensors_[index].name).has_value();
}

std::optional<SkipReason> TensorSelector::skip_reason(size_t index) const {
  const std::string_view name = tensors_[index].name;
  if (first_match(exclude_, name)) return PatternReason::kExcluded;
  const bool force = forced(index);
  if (!include_.empty() && !force && !first_match(include_, name)) {
    return PatternReason::kNotIncluded;
  }
  const std::optional<LeftAlone>& rule = choices_[index].in_file;
  if (!rule || (force && can_be_forced(*rule))) return std::nullopt;
  return *rule;
}

std::optional<SliceShape> TensorSelector::guard(size_t index) const {
  return forced(index) ? std::nullopt : choices_[index].guard;
}

double TensorSelector::level(size_t index, double otherwise) const {
  const std::optional<size_t> rule = first_match(level_patterns_, tensors_[index].name);
  return rule ? levels_[*rule] : otherwise;
}

}  // namespace winnow
