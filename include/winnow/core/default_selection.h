// Which tensors of a checkpoint or model are left alone where nobody says which to prune: those
// that would ruin it if half of their values became 0. Told by dtype, shape, name and what stands
// beside a tensor, never by values. docs/selection.md has the rule with the families that it comes
// from.
//
//   std::vector<TensorFacts> facts;  // of *all* tensors: a scale is known by the codes beside it
//   std::vector<DefaultChoice> choices = default_selection(facts);
//   if (choices[i].in_file) std::cout << left_alone_text(*choices[i].in_file);
//
// All functions are thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "winnow/base/dtype.h"

namespace winnow {

/// The number of the rule. It is recorded in pruned files, and goes up with every change of what
/// the rule leaves alone or guards.
inline constexpr uint64_t kDefaultRule = 1;

/// Why the default selection leaves a tensor alone. Where several reasons hold, the first of this
/// list but for kVector, which comes last: of a vector of scales it is said that they are scales.
enum class LeftAlone : uint8_t {
  kDType,          ///< neither F16, BF16, F32 nor F64; nothing lifts this
  kEmpty,          ///< no elements; nothing lifts this
  kQuantized,      ///< scale, zero point, bias or map of a quantized tensor beside it
  kMagnitude,      ///< multiplies whole rows: weight_norm's and DoRA's magnitude, ia3, boft
  kMask,           ///< an attention mask, or a mask of pruned weights
  kPositions,      ///< a table of positions or angles that is computed, not trained
  kStatistics,     ///< what a normalization has measured
  kCodebook,       ///< a codebook that is averaged, not trained
  kConstant,       ///< a constant of the model: filters, decays, transforms
  kFrozen,         ///< a frozen random projection that all layers of an adapter share
  kZeroIsNotZero,  ///< under a parametrization or a softmax, which does not keep zeros
  kBias,           ///< a bias of any rank
  kDirection,      ///< weight_norm's direction, where rows cannot be guarded: a row of zeros is NaN
  kVector,         ///< fewer than 2 dimensions larger than 1
};

/// One line for a person, for example "fewer than 2 dimensions larger than 1".
std::string_view left_alone_text(LeftAlone reason) noexcept;

/// The same for a program, one lower-case word: "vector". These words do not change.
std::string_view left_alone_code(LeftAlone reason) noexcept;

/// Whether a user may have such a tensor pruned all the same: not for kDType and kEmpty.
bool can_be_forced(LeftAlone reason) noexcept;

/// What the rule looks at. Name and shape stay the caller's.
struct TensorFacts {
  std::string_view name;
  DType dtype = DType::kF32;
  std::span<const uint64_t> shape;
};

/// A tensor's values in row-major order as [outer, slices, inner]: slice s is all (o, s, i).
struct SliceShape {
  uint64_t outer = 1, slices = 1, inner = 1;

  bool operator==(const SliceShape&) const = default;
};

/// What the rule says of one tensor.
struct DefaultChoice {
  /// Set: left alone where a file is pruned.
  std::optional<LeftAlone> in_file;
  /// The same where masks are held while a model trains: directions of weight_norm too, because
  /// nobody guards their rows there.
  std::optional<LeftAlone> in_training;
  /// Of what is pruned in files: slices that must not become 0 as a whole, because their norm is
  /// divided by. See keep_whole_slices.
  std::optional<SliceShape> guard;
};

/// What the default selection says of each of `tensors`, in their order. These have to be all of a
/// file or model: without the codes beside it, a scale looks like a weight.
/// Time: linear in the length of all names, times the rows of the table (about a hundred).
std::vector<DefaultChoice> default_selection(std::span<const TensorFacts> tensors);

/// What keep_whole_slices kept.
struct KeptSlices {
  uint64_t slices = 0;
  uint64_t values = 0;  ///< bytes of the mask that were 0 and are 1 now

  bool operator==(const KeptSlices&) const = default;
};

/// Keeps whole every slice that `mask` would make 0: where all of its values that are kept are 0,
/// and one that falls is not, its bytes become 1. All others stay. The values are looked at because
/// blocks of several rows can keep a zero of one row for the sake of another row's value.
/// @param values mask.size() elements of `dtype`, any alignment; not modified.
/// @param mask   one byte a value, 1 = kept; its size is outer * slices * inner.
/// Precondition: is_prunable(dtype).
KeptSlices keep_whole_slices(const void* values, DType dtype, std::span<uint8_t> mask,
                             const SliceShape& shape) noexcept;

}  // namespace winnow
