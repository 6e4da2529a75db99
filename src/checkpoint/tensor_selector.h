// Private: the settings' patterns, compiled and checked against the tensors of a file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/tensor_names.h"
#include "winnow/checkpoint/prune_plan.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace winnow {

/// Patterns and the default selection, and what both together say of each tensor. A pattern matches
/// a tensor if it matches one of its names, and the rule leaves a tensor alone if it would leave
/// one under any of its names.
class TensorSelector {
 public:
  /// `tensors` and `aliases` outlive the selector. Errors: those of make_plan that
  /// patterns can have.
  static Result<TensorSelector> create(std::span<const TensorInfo> tensors,
                                       const PruneSettings& settings,
                                       std::span<const TensorAlias> aliases);

  /// Why tensor `index` is skipped; nothing where it is pruned.
  std::optional<SkipReason> skip_reason(size_t index) const;

  /// The guard of a tensor that is pruned.
  std::optional<SliceShape> guard(size_t index) const;

  /// The level of a tensor's first level rule, or `otherwise`.
  double level(size_t index, double otherwise) const;

 private:
  // What the default selection says of a tensor, and of which of its names.
  struct Judgement {
    DefaultChoice choice;
    std::string_view name;
  };

  TensorSelector(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases);

  static std::vector<Judgement> judge(std::span<const TensorInfo> tensors,
                                      const TensorNames& names);

  Status unknown_tensor(const Pattern& pattern, std::string_view kind) const;
  Result<std::vector<Pattern>> compile(const std::vector<std::string>& texts,
                                       std::string_view kind) const;
  Status check_in_vain(const std::vector<Pattern>& patterns, std::string_view kind) const;
  // The example of a message: the name by which the rule judges the tensor, and its own.
  std::string example_text(size_t index) const;

  std::span<const TensorInfo> tensors_;
  std::span<const TensorAlias> aliases_;
  TensorNames names_;
  std::vector<Judgement> judgements_;
  std::vector<Pattern> include_, exclude_, force_, level_patterns_;
  std::vector<bool> forced_;  // of each tensor: asked once, since settings come out of files too
  std::vector<double> levels_;
};

}  // namespace winnow
