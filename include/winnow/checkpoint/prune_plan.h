// Which tensors of a file are pruned, and how: decided from the header alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/default_selection.h"
#include "winnow/core/matrix_view.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// What patterns say against a tensor.
enum class PatternReason : uint8_t {
  kExcluded,     ///< an exclude pattern matches
  kNotIncluded,  ///< there are include patterns, and neither these nor a force pattern match
};

/// Why a tensor is copied as it is: the patterns or the default selection say so.
using SkipReason = std::variant<PatternReason, LeftAlone>;

/// One line for a person, for example "excluded" or "fewer than 2 dimensions larger than 1".
std::string_view skip_reason_text(const SkipReason& reason) noexcept;

/// The same for a program: "excluded", "not_included" or left_alone_code.
std::string_view skip_reason_code(const SkipReason& reason) noexcept;

/// Whether the default selection keeps the tensor out, and a force pattern would take it in.
bool is_left_alone(const std::optional<SkipReason>& reason) noexcept;

/// What happens to one tensor.
struct PlanEntry {
  size_t tensor = 0;                  ///< index into the header's tensors()
  std::optional<SkipReason> skipped;  ///< set: copied untouched, and what follows has no meaning
  DataNormConfig config;              ///< with the level that holds for this tensor
  MatrixShape shape;                  ///< the tensor folded into a matrix
  std::optional<SliceShape> guard;    ///< slices that keep_whole_slices does not let fall whole
};

/// Decides for every tensor, in the order in which the data stand in the file (tensors without data
/// in the header's order among them):
///
///     excluded                        -> skipped
///     neither included nor forced     -> skipped; without include patterns all are included
///     type or size that has no masks  -> skipped
///     forced                          -> pruned
///     left alone by the default rule  -> skipped
///     otherwise                       -> pruned, under the rule's guard
///
/// Of several level rules that match a tensor the first wins. A pattern matches a tensor if it
/// matches its own name or one of its aliases. The default rule judges all of a tensor's names, and
/// leaves it alone if it would leave one; an alias is taken to have the tensor's shape.
/// @param aliases see tensor_aliases.
/// Errors: kInvalidArgument for settings or patterns without meaning and for an alias of none of
/// the tensors; kUnknownTensor for a pattern that matches no name, with the nearest names;
/// kLeftAlone for an include or level pattern all of whose tensors are left alone by the rule, with
/// a reason; kShapeOverflow.
Result<std::vector<PlanEntry>> make_plan(std::span<const TensorInfo> tensors,
                                         const PruneSettings& settings,
                                         std::span<const TensorAlias> aliases = {});

}  // namespace winnow
