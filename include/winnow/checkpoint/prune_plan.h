// Which tensors of a file are pruned, and how: decided from the header alone.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/matrix_view.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// Why a tensor is copied as it is.
enum class SkipReason : uint8_t {
  kExcluded,     ///< an exclude pattern matches
  kNotIncluded,  ///< there are include patterns and none matches
  kDType,        ///< neither F16, BF16, F32 nor F64
  kRank,         ///< fewer than two dimensions, and no include pattern asks for it
  kEmpty,        ///< no elements
};

/// One line for a person, for example "fewer than 2 dimensions".
std::string_view skip_reason_text(SkipReason reason) noexcept;

/// What happens to one tensor.
struct PlanEntry {
  size_t tensor = 0;                  ///< index into the header's tensors()
  std::optional<SkipReason> skipped;  ///< set: copied untouched, and what follows has no meaning
  DataNormConfig config;              ///< with the level that holds for this tensor
  MatrixShape shape;                  ///< the tensor folded into a matrix
};

/// Decides for every tensor, in the order in which the data stand in the file (tensors without data
/// in the header's order among them). Excludes beat includes; of several level rules that match a
/// tensor the first wins.
/// Errors: kInvalidArgument for settings or patterns without meaning; kUnknownTensor for a pattern
/// that matches no name, with the nearest names; kShapeOverflow.
Result<std::vector<PlanEntry>> make_plan(std::span<const TensorInfo> tensors,
                                         const PruneSettings& settings);

}  // namespace winnow
