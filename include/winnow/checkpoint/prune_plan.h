// Decides which tensors of a file are pruned, and how, from the header alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/default_selection.h"
#include "winnow/core/matrix_view.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// Why the patterns leave a tensor out.
enum class PatternReason : uint8_t {
  kExcluded,     ///< an exclude pattern matches
  kNotIncluded,  ///< there are include patterns, but none of them and no force pattern matches
};

/// Why a tensor is copied unchanged: because of the patterns, the default selection, or the way in
/// which the file holds it.
using SkipReason = std::variant<PatternReason, LeftAlone, FixedReason>;

/// Returns one line for people, for example "excluded" or "fewer than 2 dimensions larger than 1".
std::string_view skip_reason_text(const SkipReason& reason) noexcept;

/// Returns a word for programs: "excluded", "not_included", what left_alone_code returns, or
/// "overlapping", "expanded", "opaque_use", "optimizer".
std::string_view skip_reason_code(const SkipReason& reason) noexcept;

/// Returns true if the default selection leaves the tensor out and a force pattern would include
/// it.
bool is_left_alone(const std::optional<SkipReason>& reason) noexcept;

/// What happens to one tensor.
struct PlanEntry {
  size_t tensor = 0;                  ///< index into the header's tensors()
  std::optional<SkipReason> skipped;  ///< if set, copied unchanged; the fields below are unused
  DataNormConfig config;              ///< with this tensor's level
  MatrixShape shape;                  ///< the tensor folded into a matrix
  std::optional<SliceShape> guard;    ///< slices that must not become all zeros
};

/// Makes an entry for every tensor, in the order of their data in the file (tensors without data
/// keep the header's order):
///
///     excluded                        -> skipped
///     neither included nor forced     -> skipped; without include patterns all are included
///     dtype or size without masks     -> skipped
///     fixed, unless by kOptimizer     -> skipped
///     forced                          -> pruned
///     left alone by the default rule, or an optimizer's state -> skipped
///     otherwise                       -> pruned, with the rule's guard
///
/// The first level rule that matches a tensor applies. A pattern matches a tensor if it matches its
/// name or one of its aliases. The default rule looks at all names of a tensor and leaves the
/// tensor alone if it would leave any of them alone; it assumes that an alias has the tensor's
/// shape.
/// @param aliases see tensor_aliases.
/// @param fixed   by tensor: see CheckpointReader::fixed.
/// Errors: kInvalidArgument for invalid settings or patterns, and for an alias whose tensor does
/// not exist; kUnknownTensor for a pattern that matches no name, with the nearest names; kLeftAlone
/// for an include or level pattern if the rule leaves all of its tensors alone, with a reason;
/// kShapeOverflow.
Result<std::vector<PlanEntry>> make_plan(std::span<const TensorInfo> tensors,
                                         const PruneSettings& settings,
                                         std::span<const TensorAlias> aliases = {},
                                         std::span<const std::optional<FixedReason>> fixed = {});

}  // namespace winnow
