// PRIVATE. The kernels of one SIMD level as a table of functions. Nothing above src/kernels/ names
// an instruction set: callers take `kernel_table(level)` once and call through it.
//
// Kernels check nothing; their preconditions are stated here and are the caller's to keep. All are
// noexcept in effect, allocate nothing and may run on several threads at once. Pointers need the
// alignment of their type unless more is said.
//
// A *key* is a score as an integer of the same order: the bits of a non-negative float, every NaN
// being kNanKey. Keys of F16, BF16 and F32 are 32 bits, those of F64 64 bits, both signed, so that
// a bound of -1 stands below all keys and the largest integer above all.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "winnow/base/dtype.h"
#include "winnow/kernels/simd_level.h"

namespace winnow::kernels {

/// The key of every NaN: one above that of infinity.
template <typename Key>
inline constexpr Key kNanKey = sizeof(Key) == 4 ? Key{0x7f800001} : Key(0x7ff0000000000001LL);

/// Above every key: what a buffer of keys is padded with up to a multiple of kKeysPerWord.
template <typename Key>
inline constexpr Key kPadKey = std::numeric_limits<Key>::max();

/// Bits come in words of this many; bit i of word w belongs to key 64 * w + i.
inline constexpr size_t kKeysPerWord = 64;

/// Blocks that stand side by side in one block row.
/// Element (r, c) of block b stands at first + r * row_stride + b * block_cols + c.
struct BlockRun {
  const void* first;  ///< at the alignment of a byte
  size_t row_stride;  ///< in elements
  size_t block_rows;  ///< at least 1, after clipping
  size_t block_cols;  ///< at least 1, after clipping
  size_t count;       ///< blocks
};

/// Keys lo < key < hi are candidates; those at or above `threshold` are kept. lo < threshold <= hi.
template <typename Key>
struct Bracket {
  Key lo;
  Key threshold;
  Key hi;
};

/// What `count` finds among keys: how many are below lo, equal to lo, equal to hi (0 if lo == hi),
/// and strictly between.
struct BracketCounts {
  uint64_t below_lo = 0;
  uint64_t equal_lo = 0;
  uint64_t equal_hi = 0;
  uint64_t inside = 0;
};

/// Where `classify` puts the keys strictly inside the bracket, in order. Both arrays need room for
/// four entries more than there are keys.
template <typename Key>
struct CandidateSink {
  uint32_t* indices;
  Key* keys;
};

/// Kernels over keys of one width. `words` counts 64-key groups: keys[0, 64 * words).
template <typename Key>
struct KeyKernels {
  /// keep bit = key >= threshold; returns how many keys are candidates. Adds the number of keep
  /// bits to *kept.
  size_t (*classify)(const Key* keys, size_t words, const Bracket<Key>& bracket, uint64_t* keep,
                     const CandidateSink<Key>& candidates, uint64_t* kept);
  /// Adds to *counts; returns how many keys are candidates.
  size_t (*count)(const Key* keys, size_t words, const Bracket<Key>& bracket, BracketCounts* counts,
                  const CandidateSink<Key>& candidates);
  /// above bit = key > threshold, tie bit = key == threshold. Returns the number of tie bits.
  size_t (*compare)(const Key* keys, size_t words, Key threshold, uint64_t* above, uint64_t* ties);
  /// How many of keys[0, n) are below `bound`. Precondition: n < 2^31.
  size_t (*count_below)(const Key* keys, size_t n, Key bound);
};

/// Kernels that read values of one type; scores by one norm.
template <typename Key>
struct ValueKernels {
  /// Writes run.count keys: the mean score of each block, added in row-major order, divided once.
  void (*score)(const BlockRun& run, Key* keys);
  /// KeyKernels::classify of the scores of 64 * words blocks of one row that follow each other in
  /// memory, in one go. Precondition: can_classify_values(block_cols).
  size_t (*classify_values)(const void* values, size_t block_cols, size_t words,
                            const Bracket<Key>& bracket, uint64_t* keep,
                            const CandidateSink<Key>& candidates, uint64_t* kept);
  /// For each block whose keep bit is 0, writes mask bytes that drop its `zeros` lowest keys, ties
  /// to the lower index; all other mask bytes become 1. Blocks where ties straddle the limit are
  /// left to the caller: their bit in `unresolved` is set (cleared for all others). Mask byte (r, b
  /// * block_cols + c) stands at mask + r * mask_stride + b * block_cols + c. Preconditions: 0 <
  /// zeros < block_rows * block_cols <= kMaxTile; keep and unresolved start at bit 0 of word 0.
  void (*drop_in_blocks)(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                         size_t mask_stride, uint64_t* unresolved);
};

/// The widths of block that classify_values takes.
constexpr bool can_classify_values(size_t block_cols) noexcept {
  return block_cols == 1 || block_cols == 4;
}

/// The largest block, in elements, that drop_in_blocks takes.
inline constexpr size_t kMaxTile = 512;

struct KernelTable {
  KeyKernels<int32_t> keys32;
  KeyKernels<int64_t> keys64;
  // Indexed by norm: 0 is L1, 1 is L2.
  std::array<ValueKernels<int32_t>, 2> f32, f16, bf16;
  std::array<ValueKernels<int64_t>, 2> f64;

  /// out[i] = bit i / block_cols, for i in [0, count * block_cols).
  void (*expand_bits)(const uint64_t* bits, size_t count, size_t block_cols, uint8_t* out);
  /// How many of bits [0, count) are 0.
  size_t (*count_zero_bits)(const uint64_t* bits, size_t count);
  /// memcpy that goes around the caches. Call `fence` before another thread reads `to`.
  void (*copy_streaming)(uint8_t* to, const uint8_t* from, size_t bytes);
  void (*fence)();
  /// Sets the element of `bytes_per_value` (1, 2, 4 or 8) bytes to 0 wherever mask is 0.
  void (*zero_dropped)(void* values, size_t bytes_per_value, const uint8_t* mask, size_t count);
};

/// The table of a level that is available.
const KernelTable& kernel_table(SimdLevel level) noexcept;

// Each family of kernels fills its part of a level's table.
void fill_key_kernels(SimdLevel level, KernelTable& table);
void fill_score_kernels(SimdLevel level, KernelTable& table);
void fill_tile_kernels(SimdLevel level, KernelTable& table);
void fill_mask_kernels(SimdLevel level, KernelTable& table);

}  // namespace winnow::kernels
