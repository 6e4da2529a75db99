// Private: what the default selection asks of names and shapes, without knowing any of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "winnow/core/default_selection.h"

namespace winnow {

/// Whether `name` ends with `end`, at the beginning of one of its parts (they are separated by '.',
/// in Flax's files by '/'); where `end` begins with '*', anywhere.
bool ends_as(std::string_view name, std::string_view end) noexcept;

/// How many dimensions are larger than 1: the rank as masks count it.
size_t large_dimensions(std::span<const uint64_t> shape) noexcept;

/// Whether a dimension is 0.
bool is_empty(std::span<const uint64_t> shape) noexcept;

/// Whether values of this type can be codes: integers, packed values, floats of 8 bits and less.
bool holds_codes(DType dtype) noexcept;

/// The slices of a tensor that a magnitude of that shape scales, as weight_norm makes it: the
/// tensor's own rank with all sizes 1 but one at most, or a single value, which scales the whole.
/// Nothing for any other pair of shapes.
std::optional<SliceShape> rows_of(std::span<const uint64_t> shape,
                                  std::span<const uint64_t> magnitude) noexcept;

/// All of a tensor as one slice.
SliceShape whole(std::span<const uint64_t> shape) noexcept;

/// Tensors by name. The names and shapes stay the caller's. Sorted, not hashed: names come out of
/// files, and a file could have all of them in one bucket.
class NamedShapes {
 public:
  explicit NamedShapes(std::span<const TensorFacts> tensors);

  /// The tensor whose name is `name` with `other` in the place of `end`, or nullptr. `other` begins
  /// with '*' if `end` does. Precondition of a match: ends_as(name, end).
  const TensorFacts* sibling(std::string_view name, std::string_view end,
                             std::string_view other) const;

 private:
  std::vector<const TensorFacts*> tensors_;  // in the order of their names
};

}  // namespace winnow
