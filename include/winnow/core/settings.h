// The settings that users write, checked: one rule and one message, whoever asks. Numbers come
// signed, as they are written. Every error is kInvalidArgument "FIELD: expected X, found Y". All
// functions are thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "winnow/base/status.h"
#include "winnow/core/data_norm.h"
#include "winnow/core/scope.h"

namespace winnow {

/// As a block's width (or height): the whole row (or column), whatever the data's size.
inline constexpr int64_t kWholeDimension = std::numeric_limits<int64_t>::max();

/// Refuses NaN and infinity.
Status check_sparsity_level(double level);

/// Refuses what is not within [0, 1].
Status check_share(double level);

/// A line for a warning: the effect of a finite level outside [0, 1], and the level that was
/// probably meant.
/// Empty for all other levels.
std::string sparsity_level_hint(double level);

/// Refuses sides below 1.
Status check_sparse_block_shape(int64_t rows, int64_t cols);

/// Refuses negative numbers.
Status check_zeros_per_block(int64_t zeros);

/// How many values a block has; kWholeDimension if that is less.
int64_t block_values(int64_t rows, int64_t cols) noexcept;

/// The rule that these settings name, after all of the checks above but check_share;
/// zeros_per_block may not exceed the block either. Unset zeros, and as many as the block has, are
/// the whole block.
Result<DataNormConfig> data_norm_config(double sparsity_level, int64_t rows, int64_t cols,
                                        std::optional<int64_t> zeros_per_block, Norm norm);

/// Refuses all but 0 <= n <= m and m >= 1.
Status check_nm(int64_t n, int64_t m);

/// "L1" and "L2", in either case, and back in upper case.
Result<Norm> norm_from_name(std::string_view name);
std::string_view norm_name(Norm norm) noexcept;

/// "tensor" and "global", and back.
Result<Scope> scope_from_name(std::string_view name);
std::string_view scope_name(Scope scope) noexcept;

}  // namespace winnow
