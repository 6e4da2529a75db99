// Private: the patterns of a flag or a setting, checked against the tensors of a file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/patterns/tensor_names.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace winnow::checkpoint {

/// Whether the pattern matches one of the names.
bool matches_any(const Pattern& pattern, std::span<const std::string_view> names);

/// "include pattern 'TEXT'", for messages.
std::string pattern_label(const Pattern& pattern, std::string_view kind);

/// Compiles patterns. `names` are those of `tensors` and `aliases`.
/// Errors: those of Pattern::compile; kUnknownTensor for a pattern that matches no name, with the
/// nearest names.
Result<std::vector<Pattern>> compile_patterns(const std::vector<std::string>& texts,
                                              std::string_view kind,
                                              std::span<const TensorInfo> tensors,
                                              std::span<const TensorAlias> aliases,
                                              const TensorNames& names);

}  // namespace winnow::checkpoint
