#include "checkpoint/plan/tensor_selector.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/patterns/pattern_list.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {
namespace {

constexpr size_t kMaxShownName = 80;  // bytes of a name in a message

// The first pattern that matches one of the names.
std::optional<size_t> first_match(const std::vector<Pattern>& patterns,
                                  std::span<const std::string_view> names) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (matches_any(patterns[i], names)) return i;
  }
  return std::nullopt;
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
                                              std::span<const TensorAlias> aliases,
                                              std::span<const std::optional<FixedReason>> fixed) {
  TensorSelector selector(tensors, aliases);
  selector.fixed_ = fixed;
  const auto compile = [&](const std::vector<std::string>& texts, std::string_view kind) {
    return compile_patterns(texts, kind, tensors, aliases, selector.names_);
  };
  WINNOW_ASSIGN_OR_RETURN(selector.include_, compile(settings.include, "include"));
  WINNOW_ASSIGN_OR_RETURN(selector.exclude_, compile(settings.exclude, "exclude"));
  WINNOW_ASSIGN_OR_RETURN(selector.force_, compile(settings.force, "force"));
  std::vector<std::string> patterns;
  for (const LevelRule& rule : settings.levels) {
    patterns.push_back(rule.pattern);
    selector.levels_.push_back(rule.sparsity_level);
  }
  WINNOW_ASSIGN_OR_RETURN(selector.level_patterns_, compile(patterns, "level"));
  for (size_t i = 0; i < selector.names_.tensors(); ++i) {
    selector.forced_.push_back(first_match(selector.force_, selector.names_.of(i)).has_value());
  }
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.include_, "include"));
  WINNOW_RETURN_IF_ERROR(selector.check_in_vain(selector.level_patterns_, "level"));
  return selector;
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
                  pattern_label(pattern, kind) +
                      " matches only what the default selection leaves alone (" +
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
  const std::span<const std::string_view> names = names_.of(index);
  if (first_match(exclude_, names)) return PatternReason::kExcluded;
  const bool force = forced_[index];
  if (!include_.empty() && !force && !first_match(include_, names)) {
    return PatternReason::kNotIncluded;
  }
  const std::optional<LeftAlone>& rule = judgements_[index].choice.in_file;
  if (rule && !(force && can_be_forced(*rule))) return *rule;
  const FixedReason* fixed = !fixed_.empty() && fixed_[index] ? &*fixed_[index] : nullptr;
  if (fixed != nullptr && !(force && *fixed == FixedReason::kOptimizer)) return *fixed;
  return std::nullopt;
}

std::optional<SliceShape> TensorSelector::guard(size_t index) const {
  return forced_[index] ? std::nullopt : judgements_[index].choice.guard;
}

double TensorSelector::level(size_t index, double otherwise) const {
  const std::optional<size_t> rule = first_match(level_patterns_, names_.of(index));
  return rule ? levels_[*rule] : otherwise;
}

}  // namespace winnow::checkpoint
