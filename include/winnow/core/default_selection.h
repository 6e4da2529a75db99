// Which tensors of a checkpoint or model are left alone if the user does not say which to prune:
// those whose pruning would ruin the model. The rule looks at dtype, shape, name and neighbouring
// tensors, never at values. docs/selection.md describes it, with the model families behind it.
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

/// The version of the rule. It is recorded in pruned files, and increases with every change of what
/// the rule leaves alone or guards.
inline constexpr uint64_t kDefaultRule = 1;

/// Why the default selection leaves a tensor alone. If several reasons apply, the first of this
/// list is reported; kVector is last, so that a vector of scales is reported as scales.
enum class LeftAlone : uint8_t {
  kDType,          ///< neither F16, BF16, F32 nor F64; cannot be forced
  kEmpty,          ///< no elements; cannot be forced
  kQuantized,      ///< scale, zero point, bias or map of a quantized tensor beside it
  kMagnitude,      ///< multiplies whole rows: weight_norm's and DoRA's magnitude, ia3, boft
  kMask,           ///< an attention mask, or a mask of pruned weights
  kPositions,      ///< a table of positions or angles that is computed, not trained
  kStatistics,     ///< running statistics of a normalization layer
  kCodebook,       ///< a codebook that is averaged, not trained
  kConstant,       ///< a constant of the model: filters, decays, transforms
  kFrozen,         ///< a frozen random projection that all layers of an adapter share
  kZeroIsNotZero,  ///< under a parametrization or a softmax, which does not keep zeros
  kBias,           ///< a bias of any rank
  kDirection,      ///< weight_norm's direction, if rows cannot be guarded: a row of zeros gives NaN
  kVector,         ///< fewer than 2 dimensions larger than 1
};

/// Returns one line for people, for example "fewer than 2 dimensions larger than 1".
std::string_view left_alone_text(LeftAlone reason) noexcept;

/// Returns one lower-case word for programs, for example "vector". These words are stable.
std::string_view left_alone_code(LeftAlone reason) noexcept;

/// Returns true if a user may force such a tensor to be pruned; false for kDType and kEmpty.
bool can_be_forced(LeftAlone reason) noexcept;

/// A tensor as the rule sees it. Name and shape are borrowed from the caller.
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

/// The rule's decision on one tensor.
struct DefaultChoice {
  /// If set, the tensor is left alone when a file is pruned.
  std::optional<LeftAlone> in_file;
  /// If set, the tensor is left alone when masks are held during training. This includes directions
  /// of weight_norm, because nothing guards their rows there.
  std::optional<LeftAlone> in_training;
  /// For tensors that are pruned in files: slices that must not become all zeros, because the model
  /// divides by their norm. See keep_whole_slices.
  std::optional<SliceShape> guard;
};

/// Returns the decision on each of `tensors`, in their order. Pass all tensors of a file or model:
/// without its codes, a scale looks like a weight. Time: linear in the length of all names, times
/// the rows of the table (about a hundred).
std::vector<DefaultChoice> default_selection(std::span<const TensorFacts> tensors);

/// Counts of what keep_whole_slices kept.
struct KeptSlices {
  uint64_t slices = 0;
  uint64_t values = 0;  ///< bytes of the mask that were 0 and are 1 now

  bool operator==(const KeptSlices&) const = default;
};

/// Keeps whole every slice that `mask` would turn into zeros: if all kept values of a slice are 0
/// and a dropped one is not, its mask bytes become 1. All other slices are unchanged. Looking at
/// the values is necessary because a block of several rows may keep a zero of one row only for a
/// value of another row.
/// @param values mask.size() elements of `dtype`, any alignment; not modified.
/// @param mask   one byte a value, 1 = kept; its size is outer * slices * inner.
/// Precondition: is_prunable(dtype).
KeptSlices keep_whole_slices(const void* values, DType dtype, std::span<uint8_t> mask,
                             const SliceShape& shape) noexcept;

/// The same for a tensor that is seen piece by piece, twice:
///
///     SliceGuard guard(shape);
///     for (each piece) guard.see(values, dtype, mask, first);
///     KeptSlices kept{.slices = guard.kept_slices()};
///     for (each piece) kept.values += guard.keep(mask, first);
///
/// A piece is any range [first, first + mask.size()) of the flat order of the tensor's values.
/// Memory: one byte a slice; the constructor throws std::bad_alloc. Not thread-safe.
class SliceGuard {
 public:
  explicit SliceGuard(const SliceShape& shape);

  /// Looks at a piece. The order of pieces does not matter.
  void see(const void* values, DType dtype, std::span<const uint8_t> mask, uint64_t first) noexcept;

  /// After all pieces: how many slices are kept whole.
  uint64_t kept_slices() const noexcept;

  /// After all pieces: keeps the part of those slices in a piece; returns how many bytes of the
  /// mask were 0 and are 1 now.
  uint64_t keep(std::span<uint8_t> mask, uint64_t first) const noexcept;

 private:
  SliceShape shape_;
  std::vector<uint8_t> seen_;  // by slice
};

}  // namespace winnow
