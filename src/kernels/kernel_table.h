// PRIVATE. The kernels of one SIMD level as a table of functions. Nothing above src/kernels/ names
// an instruction set: callers take `kernel_table(level)` once and call through it.
//
// Kernels check nothing: their preconditions are stated here, and the callers in core assert them.
// All kernels are noexcept in effect, allocate nothing and may run on several threads at once.
// Unless a contract says otherwise:
//  - ranges are half-open, and nothing outside of them is read or written;
//  - what a kernel writes overlaps neither what it reads nor its other outputs;
//  - pointers have the alignment of their type; `const void*` and bytes have any alignment;
//  - stack: below 1 KiB.
//
// A *key* is a score as an integer of the same order: the bits of a non-negative float, every NaN
// being kNanKey. Keys of F16, BF16 and F32 are 32 bits, those of F64 64 bits, both signed, so that
// a bound of -1 stands below all keys and the largest integer above all.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "winnow/base/norm.h"
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

/// Keys lo < key < hi are candidates; those at or above `threshold` are kept.
/// Invariant: -1 <= lo <= threshold <= hi. `count` takes lo == hi, a single key, and ignores
/// `threshold`; `classify` and `classify_values` need lo < threshold, or keys at lo would be kept.
template <typename Key>
struct Bracket {
  Key lo;
  Key threshold;
  Key hi;

  constexpr bool is_ordered() const noexcept {
    return Key{-1} <= lo && lo <= threshold && threshold <= hi;
  }
};

/// What `count` finds among keys: how many are below lo, equal to lo, equal to hi (0 if lo == hi),
/// and strictly between.
struct BracketCounts {
  uint64_t below_lo = 0;
  uint64_t equal_lo = 0;
  uint64_t equal_hi = 0;
  uint64_t inside = 0;
};

/// Where the keys strictly inside the bracket go, in their order, and their indices. Both arrays
/// need room for four entries more than there are keys: indices are stored four at a time, so up to
/// four entries past those found are overwritten.
template <typename Key>
struct CandidateSink {
  uint32_t* indices;
  Key* keys;
};

/// Kernels over keys of one width. `words` counts 64-key groups: keys[0, 64 * words).
template <typename Key>
struct KeyKernels {
  /// Splits keys by a threshold and collects those near it. Precondition: lo < threshold.
  /// Reads keys[0, 64 * words). Writes keep[0, words), bit i = (keys[i] >= threshold), and the
  /// candidates; adds the number of keep bits to *kept. Returns how many candidates there are.
  size_t (*classify)(const Key* keys, size_t words, const Bracket<Key>& bracket, uint64_t* keep,
                     const CandidateSink<Key>& candidates, uint64_t* kept);
  /// Counts keys on both sides of and on the ends of a bracket, and collects those inside.
  /// Reads keys[0, 64 * words). Writes the candidates; adds to *counts. Returns how many candidates
  /// there are.
  size_t (*count)(const Key* keys, size_t words, const Bracket<Key>& bracket, BracketCounts* counts,
                  const CandidateSink<Key>& candidates);
  /// Splits keys by a threshold, those equal to it apart.
  /// Reads keys[0, 64 * words). Writes above[0, words), bit i = (keys[i] > threshold), and
  /// ties[0, words), bit i = (keys[i] == threshold). Returns the number of tie bits.
  size_t (*compare)(const Key* keys, size_t words, Key threshold, uint64_t* above, uint64_t* ties);
  /// How many of keys[0, n) are below `bound`. Precondition: n < 2^31, since the lanes count in
  /// their own width. Writes nothing.
  size_t (*count_below)(const Key* keys, size_t n, Key bound);
};

/// Kernels that read values of one type; scores by one norm.
template <typename Key>
struct ValueKernels {
  /// The mean score of each block: added in row-major order, divided once.
  /// Reads the elements of `run`, at any alignment. Writes keys[0, run.count).
  /// Stack: 4096 scores, that is 16 KiB, or 32 KiB for F64.
  void (*score)(const BlockRun& run, Key* keys);
  /// KeyKernels::classify of the scores of 64 * words blocks of one row that follow each other in
  /// memory, without a buffer of keys. Preconditions: can_classify_values(block_cols) and
  /// lo < threshold. Reads values[0, 64 * words * block_cols), at any alignment, those of
  /// candidates twice; writes as `classify` does.
  size_t (*classify_values)(const void* values, size_t block_cols, size_t words,
                            const Bracket<Key>& bracket, uint64_t* keep,
                            const CandidateSink<Key>& candidates, uint64_t* kept);
  /// For each block whose keep bit is 0, writes mask bytes that drop its `zeros` lowest keys, ties
  /// to the lower index; all other mask bytes become 1. Blocks where ties straddle the limit are
  /// left to the caller: their bit in `unresolved` is set (cleared for all others), and all their
  /// mask bytes are 1.
  /// Preconditions: 0 < zeros < block_rows * block_cols <= kMaxTile; keep and unresolved start at
  /// bit 0 of word 0.
  /// Reads the elements of `run`, at any alignment, and bits [0, run.count) of `keep`. Writes the
  /// mask bytes of `run`, byte (r, b * block_cols + c) at mask + r * mask_stride + b * block_cols +
  /// c, some of them twice, and the words of `unresolved` that hold bits [0, run.count).
  /// Stack: two tiles, that is about 64 KiB, or 128 KiB for F64.
  void (*drop_in_blocks)(const BlockRun& run, size_t zeros, const uint64_t* keep, uint8_t* mask,
                         size_t mask_stride, uint64_t* unresolved);
};

/// The kernels of one type of values.
template <typename Key>
struct KernelsByNorm {
  ValueKernels<Key> l1, l2;
  const ValueKernels<Key>& of(Norm norm) const noexcept { return norm == Norm::kL1 ? l1 : l2; }
};

/// The widths of block that classify_values takes.
constexpr bool can_classify_values(size_t block_cols) noexcept {
  return block_cols == 1 || block_cols == 4;
}

/// The largest block, in elements, that drop_in_blocks takes.
inline constexpr size_t kMaxTile = 512;

/// Whether a value of which only the sign is set, such as -0.0, is not zero.
enum class ZeroSign : uint8_t { kCounts, kIgnored };

/// Floats of 16 or 32 bits in parts, as sparse/values.h describes them.
struct FloatParts {
  const uint8_t* heads;  ///< one a float
  const uint8_t* const*
      planes;                 ///< of the tails, as sparse/bit_planes.h lays them out, any alignment
  unsigned tail_bits;         ///< 1 to 8 of 16-bit floats, 17 to 24 of others
  bool is_window;             ///< heads choose an exponent, else they hold it
  const unsigned* exponents;  ///< those that a window's heads choose: three
};

struct KernelTable {
  KeyKernels<int32_t> keys32;
  KeyKernels<int64_t> keys64;
  /// The kernels that read keys of that type.
  template <typename Key>
  const KeyKernels<Key>& keys() const noexcept {
    if constexpr (sizeof(Key) == 4) {
      return keys32;
    } else {
      return keys64;
    }
  }

  KernelsByNorm<int32_t> f32, f16, bf16;
  KernelsByNorm<int64_t> f64;

  /// out[i] = bit i / block_cols, for i in [0, count * block_cols). Reads the words that hold bits
  /// [0, count).
  void (*expand_bits)(const uint64_t* bits, size_t count, size_t block_cols, uint8_t* out);
  /// How many of bits [0, count) are 0. Reads the words that hold them.
  size_t (*count_zero_bits)(const uint64_t* bits, size_t count);
  /// to[0, bytes) = from[0, bytes), around the caches. Call `fence` before another thread reads
  /// `to`.
  void (*copy_streaming)(uint8_t* to, const uint8_t* from, size_t bytes);
  /// Makes all that this thread streamed visible to the threads that it synchronises with later.
  void (*fence)();
  /// Sets the element of `bytes_per_value` (1, 2, 4 or 8) bytes to 0 wherever its mask byte is 0.
  /// Reads mask[0, count). Reads and writes values[0, count * bytes_per_value) in place, at any
  /// alignment: elements that stay are rewritten with their own bits.
  void (*zero_dropped)(void* values, size_t bytes_per_value, const uint8_t* mask, size_t count);

  // Of the next three, `bytes_per_value` is 1, 2, 4 or 8, and values stand at any alignment.

  /// Bit i = (values[i] has a bit that is not 0), for i in [0, count); the highest bit may be left
  /// out of that. Writes the words that hold them; the bits behind the last are 0.
  void (*nonzero_bits)(const void* values, size_t bytes_per_value, size_t count, ZeroSign sign,
                       uint64_t* bits);
  /// Writes the values whose bit is 1 to `out`, one behind the other. Up to 16 bytes behind the
  /// last of them are overwritten.
  void (*compact_values)(const void* values, size_t bytes_per_value, const uint64_t* bits,
                         size_t count, void* out);
  /// The reverse: out[i] = the next of `values` if bit i is 1, else 0. Up to 32 bytes behind the
  /// last of `values` are read. If `is_streaming`, most is written around the caches: call `fence`
  /// before another thread reads `out`.
  void (*expand_values)(const void* values, size_t bytes_per_value, const uint64_t* bits,
                        size_t count, void* out, bool is_streaming);
  /// Puts `count` floats of `bytes_per_value` (2 or 4) bytes together. A window's heads of class 3
  /// get the exponent 0. Writes out[0, count * bytes_per_value), at any alignment.
  void (*join_floats)(const FloatParts& parts, size_t bytes_per_value, size_t count, void* out);
  /// How many of the groups of `group` consecutive bits have one that is 1; group is a power of two
  /// up to 64. Reads bits[0, words).
  size_t (*count_bit_groups)(const uint64_t* bits, size_t words, size_t group);
};

/// The table of a level that is available.
const KernelTable& kernel_table(SimdLevel level) noexcept;

// Each family of kernels fills its part of a level's table.
void fill_key_kernels(SimdLevel level, KernelTable& table);
void fill_score_kernels(SimdLevel level, KernelTable& table);
void fill_drop_kernels(SimdLevel level, KernelTable& table);
void fill_mask_kernels(SimdLevel level, KernelTable& table);
void fill_compact_kernels(SimdLevel level, KernelTable& table);
void fill_join_kernels(SimdLevel level, KernelTable& table);

}  // namespace winnow::kernels
