// Private: the patterns of the settings, compiled and checked against the tensors of a file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/patterns/tensor_names.h"
#include "winnow/checkpoint/prune_plan.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace winnow::checkpoint {

/// Combines the patterns and the default selection to a decision on each tensor. A pattern matches
/// a tensor if it matches one of its names. The rule leaves a tensor alone if it would do so under
/// any of its names.
class TensorSelector {
 public:
  /// `tensors`, `aliases` and `fixed` must outlive the selector. Errors: those of make_plan about
  /// patterns.
  static Result<TensorSelector> create(std::span<const TensorInfo> tensors,
                                       const PruneSettings& settings,
                                       std::span<const TensorAlias> aliases,
                                       std::span<const std::optional<FixedReason>> fixed);

  /// Returns why tensor `index` is skipped, or nullopt if it is pruned.
  std::optional<SkipReason> skip_reason(size_t index) const;

  /// Returns the guard of a tensor that is pruned, if it has one.
  std::optional<SliceShape> guard(size_t index) const;

  /// Returns the level of the first level rule that matches a tensor, or `otherwise`.
  double level(size_t index, double otherwise) const;

 private:
  // The default selection's decision on a tensor, and the name that led to it.
  struct Judgement {
    DefaultChoice choice;
    std::string_view name;
  };

  TensorSelector(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases);

  static std::vector<Judgement> judge(std::span<const TensorInfo> tensors,
                                      const TensorNames& names);

  Status check_in_vain(const std::vector<Pattern>& patterns, std::string_view kind) const;
  // An example for a message: the name that led to the rule's decision, and the tensor's own.
  std::string example_text(size_t index) const;

  std::span<const TensorInfo> tensors_;
  std::span<const TensorAlias> aliases_;
  std::span<const std::optional<FixedReason>> fixed_;  // by tensor, or empty
  TensorNames names_;
  std::vector<Judgement> judgements_;
  std::vector<Pattern> include_, exclude_, force_, level_patterns_;
  std::vector<bool> forced_;  // by tensor; matched only once, since patterns may come from files
  std::vector<double> levels_;
};

}  // namespace winnow::checkpoint
