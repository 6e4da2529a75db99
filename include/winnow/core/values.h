// Operations on values besides computing masks: apply a mask, find NaN, summarise.
// All functions are thread-safe for distinct outputs and allocate nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "winnow/base/dtype.h"
#include "winnow/core/strided_view.h"

namespace winnow {

/// Sets values[i] to +0.0 wherever mask[i] is 0 and leaves the bits of all others.
/// @param values mask.size() elements of `dtype` (8, 16, 32 or 64 bits), any alignment, in place.
void apply_mask(void* values, DType dtype, std::span<const uint8_t> mask) noexcept;

/// The same for the elements of a tensor; the mask is in their row-major order.
/// Precondition: layout.has_distinct_places().
void apply_mask(void* values, DType dtype, const StridedLayout& layout,
                std::span<const uint8_t> mask) noexcept;

/// The lowest index of a NaN in [0, count), if there is one. Precondition: is_prunable(dtype).
std::optional<uint64_t> find_nan(const void* values, DType dtype, uint64_t count) noexcept;

/// The first index in [0, mask.size()) at which `pruned` is not what the mask makes of `original`:
/// +0.0 where mask is 0, the original's bits elsewhere.
std::optional<uint64_t> find_mask_violation(const void* original, const void* pruned, DType dtype,
                                            std::span<const uint8_t> mask) noexcept;

/// Figures of a tensor's values. If all are NaN (or there are none) min, max and mean_abs are 0.
struct ValueStats {
  uint64_t zeros = 0;
  uint64_t nans = 0;
  uint64_t infinities = 0;
  double min = 0;       ///< of the values that are not NaN
  double max = 0;       ///< of the values that are not NaN
  double mean_abs = 0;  ///< of the finite values
};

/// Calls visit(name, value) for each figure.
template <typename Visit>
void visit_fields(const ValueStats& stats, const Visit& visit) {
  visit("zeros", stats.zeros);
  visit("nans", stats.nans);
  visit("infinities", stats.infinities);
  visit("min", stats.min);
  visit("max", stats.max);
  visit("mean_abs", stats.mean_abs);
}

/// Precondition: is_prunable(dtype).
ValueStats value_stats(const void* values, DType dtype, uint64_t count) noexcept;

/// Element `index` as a double (exact). Precondition: is_prunable(dtype).
double value_at(const void* values, DType dtype, uint64_t index) noexcept;

}  // namespace winnow
