#include "winnow/checkpoint/prune_plan.h"

#include <utility>

#include "base/status_macros.h"
#include "checkpoint/files/container.h"
#include "checkpoint/plan/tensor_selector.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow {

namespace {

std::string_view fixed_text(FixedReason reason) noexcept {
  switch (reason) {
    case FixedReason::kOverlapping:
      return "shares some of its values with other tensors";
    case FixedReason::kExpanded:
      return "has some of its values more than once";
    case FixedReason::kOpaqueUse:
      return "a value of an unknown class uses its storage";
    default:
      return "state of an optimizer";
  }
}

std::string_view fixed_code(FixedReason reason) noexcept {
  constexpr std::string_view kCodes[] = {"overlapping", "expanded", "opaque_use", "optimizer"};
  return kCodes[static_cast<size_t>(reason)];
}

}  // namespace

std::string_view skip_reason_text(const SkipReason& reason) noexcept {
  if (const auto* fixed = std::get_if<FixedReason>(&reason)) return fixed_text(*fixed);
  if (const auto* rule = std::get_if<LeftAlone>(&reason)) return left_alone_text(*rule);
  return *std::get_if<PatternReason>(&reason) == PatternReason::kExcluded ? "excluded"
                                                                          : "not included";
}

std::string_view skip_reason_code(const SkipReason& reason) noexcept {
  if (const auto* fixed = std::get_if<FixedReason>(&reason)) return fixed_code(*fixed);
  if (const auto* rule = std::get_if<LeftAlone>(&reason)) return left_alone_code(*rule);
  return *std::get_if<PatternReason>(&reason) == PatternReason::kExcluded ? "excluded"
                                                                          : "not_included";
}

bool is_left_alone(const std::optional<SkipReason>& reason) noexcept {
  if (reason == SkipReason(FixedReason::kOptimizer)) return true;
  const auto* rule = reason ? std::get_if<LeftAlone>(&*reason) : nullptr;
  return rule != nullptr && can_be_forced(*rule);
}

namespace {

Status check_aliases(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases) {
  for (const TensorAlias& alias : aliases) {
    if (alias.tensor < tensors.size()) continue;
    return Status(ErrorCode::kInvalidArgument,
                  concat("alias '", escape_name(alias.name), "': expected one of ", tensors.size(),
                         " tensors, found index ", alias.tensor));
  }
  return Status();
}

}  // namespace

Result<std::vector<PlanEntry>> make_plan(std::span<const TensorInfo> tensors,
                                         const PruneSettings& settings,
                                         std::span<const TensorAlias> aliases,
                                         std::span<const std::optional<FixedReason>> fixed) {
  WINNOW_RETURN_IF_ERROR(validate(settings));
  WINNOW_RETURN_IF_ERROR(check_aliases(tensors, aliases));
  WINNOW_ASSIGN_OR_RETURN(const checkpoint::TensorSelector selector,
                          checkpoint::TensorSelector::create(tensors, settings, aliases, fixed));
  std::vector<PlanEntry> plan;
  plan.reserve(tensors.size());
  for (const size_t index : checkpoint::data_order(tensors)) {
    PlanEntry entry;
    entry.tensor = index;
    entry.skipped = selector.skip_reason(index);
    if (!entry.skipped) {
      WINNOW_ASSIGN_OR_RETURN(entry.shape, fold_shape(tensors[index].shape));
      entry.config = settings.config;
      entry.config.sparsity_level = selector.level(index, settings.config.sparsity_level);
      entry.guard = selector.guard(index);
    }
    plan.push_back(entry);
  }
  return plan;
}

}  // namespace winnow
