// Private: the settings' patterns, compiled and checked against the tensors of a file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/prune_plan.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace winnow {

/// Patterns and the default selection, and what both together say of each tensor.
class TensorSelector {
 public:
  /// `tensors` outlive the selector. Errors: those of make_plan that patterns can have.
  static Result<TensorSelector> create(std::span<const TensorInfo> tensors,
                                       const PruneSettings& settings);

  /// Why tensor `index` is skipped; nothing where it is pruned.
  std::optional<SkipReason> skip_reason(size_t index) const;

  /// The guard of a tensor that is pruned.
  std::optional<SliceShape> guard(size_t index) const;

  /// The level of a tensor's first level rule, or `otherwise`.
  double level(size_t index, double otherwise) const;

 private:
  explicit TensorSelector(std::span<const TensorInfo> tensors);

  Result<std::vector<Pattern>> compile(const std::vector<std::string>& texts,
                                       std::string_view kind) const;
  Status check_in_vain(const std::vector<Pattern>& patterns, std::string_view kind) const;
  bool forced(size_t index) const;

  std::span<const TensorInfo> tensors_;
  std::vector<DefaultChoice> choices_;
  std::vector<Pattern> include_, exclude_, force_, level_patterns_;
  std::vector<double> levels_;
};

}  // namespace winnow
