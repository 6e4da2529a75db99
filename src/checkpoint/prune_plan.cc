#include "winnow/checkpoint/prune_plan.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "winnow/checkpoint/tensor_patterns.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

constexpr size_t kMinRank = 2;        // of what is pruned without an include pattern
constexpr size_t kShownNames = 3;     // in the message for a pattern that matches nothing
constexpr size_t kMaxShownName = 80;  // bytes of such a name

// The settings' patterns, compiled, each checked to match at least one tensor.
class Selector {
 public:
  static Result<Selector> create(std::span<const TensorInfo> tensors,
                                 const PruneSettings& settings) {
    Selector selector;
    WINNOW_ASSIGN_OR_RETURN(selector.include_, compile(tensors, settings.include, "include"));
    WINNOW_ASSIGN_OR_RETURN(selector.exclude_, compile(tensors, settings.exclude, "exclude"));
    std::vector<std::string> patterns;
    for (const LevelRule& rule : settings.levels) {
      patterns.push_back(rule.pattern);
      selector.levels_.push_back(rule.sparsity_level);
    }
    WINNOW_ASSIGN_OR_RETURN(selector.level_patterns_, compile(tensors, patterns, "level"));
    return selector;
  }

  std::optional<SkipReason> skip_reason(const TensorInfo& tensor) const {
    if (first_match(exclude_, tensor.name)) return SkipReason::kExcluded;
    const bool all = include_.empty();
    if (!all && !first_match(include_, tensor.name)) return SkipReason::kNotIncluded;
    if (!is_prunable(tensor.dtype)) return SkipReason::kDType;
    if (all && tensor.shape.size() < kMinRank) return SkipReason::kRank;
    if (tensor.bytes() == 0) return SkipReason::kEmpty;
    return std::nullopt;
  }

  double level(const TensorInfo& tensor, double otherwise) const {
    const std::optional<size_t> rule = first_match(level_patterns_, tensor.name);
    return rule ? levels_[*rule] : otherwise;
  }

 private:
  static Result<std::vector<Pattern>> compile(std::span<const TensorInfo> tensors,
                                              const std::vector<std::string>& texts,
                                              std::string_view kind) {
    std::vector<Pattern> patterns;
    for (const std::string& text : texts) {
      WINNOW_ASSIGN_OR_RETURN(Pattern pattern, Pattern::compile(text));
      const bool known = std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& tensor) {
        return pattern.matches(tensor.name);
      });
      if (!known) return unknown_tensor(pattern, tensors, kind);
      patterns.push_back(std::move(pattern));
    }
    return patterns;
  }

  static Status unknown_tensor(const Pattern& pattern, std::span<const TensorInfo> tensors,
                               std::string_view kind) {
    std::string message = std::string(kind) + " pattern '" + escape_name(pattern.text()) +
                          "': expected a match among " + std::to_string(tensors.size()) +
                          " tensors, found none";
    const char* separator = "; nearest: '";
    for (const std::string& name : nearest_names(pattern, tensors, kShownNames)) {
      message += separator + escape_name(name).substr(0, kMaxShownName) + "'";
      separator = ", '";
    }
    return Status(ErrorCode::kUnknownTensor, std::move(message));
  }

  static std::optional<size_t> first_match(const std::vector<Pattern>& patterns,
                                           std::string_view name) {
    for (size_t i = 0; i < patterns.size(); ++i) {
      if (patterns[i].matches(name)) return i;
    }
    return std::nullopt;
  }

  std::vector<Pattern> include_, exclude_, level_patterns_;
  std::vector<double> levels_;
};

}  // namespace

std::string_view skip_reason_text(SkipReason reason) noexcept {
  switch (reason) {
    case SkipReason::kExcluded:
      return "excluded";
    case SkipReason::kNotIncluded:
      return "not included";
    case SkipReason::kDType:
      return "dtype cannot be pruned";
    case SkipReason::kRank:
      return "fewer than 2 dimensions";
    case SkipReason::kEmpty:
      return "no elements";
  }
  return "";
}

Result<std::vector<PlanEntry>> make_plan(std::span<const TensorInfo> tensors,
                                         const PruneSettings& settings) {
  WINNOW_RETURN_IF_ERROR(validate(settings));
  WINNOW_ASSIGN_OR_RETURN(const Selector selector, Selector::create(tensors, settings));
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(tensors[a].begin, tensors[a].end) <
           std::pair(tensors[b].begin, tensors[b].end);
  });
  std::vector<PlanEntry> plan;
  plan.reserve(order.size());
  for (const size_t index : order) {
    const TensorInfo& tensor = tensors[index];
    PlanEntry entry;
    entry.tensor = index;
    entry.skipped = selector.skip_reason(tensor);
    if (!entry.skipped) {
      WINNOW_ASSIGN_OR_RETURN(entry.shape, fold_shape(tensor.shape));
      entry.config = settings.config;
      entry.config.sparsity_level = selector.level(tensor, settings.config.sparsity_level);
    }
    plan.push_back(std::move(entry));
  }
  return plan;
}

}  // namespace winnow
