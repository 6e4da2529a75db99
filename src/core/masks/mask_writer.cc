#include "core/masks/mask_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace winnow::core {
namespace {

// One expanded row of a run: small enough for the L1 cache.
constexpr size_t kStagingBytes = 8192;
// Wider blocks are filled one by one.
constexpr size_t kMaxStagedCols = 512;
constexpr size_t kMaxRunBlocks = 1024;

bool bit_at(const uint64_t* bits, size_t i) noexcept { return bits[i / 64] >> (i % 64) & 1; }

// The `count` bits from `first_bit` on, so that they begin at bit 0: in place if they already
// do, else in `out`.
const uint64_t* align_bits(const uint64_t* bits, size_t first_bit, size_t count,
                           uint64_t* out) noexcept {
  const size_t shift = first_bit % 64;
  const uint64_t* word = bits + first_bit / 64;
  if (shift == 0) return word;
  for (size_t i = 0; i * 64 < count; ++i) {
    out[i] = word[i] >> shift;
    if (count - i * 64 > 64 - shift) out[i] |= word[i + 1] << (64 - shift);
  }
  return out;
}

// Block `index` of a run, as a run of one.
Run block_of(const Run& run, size_t index) noexcept {
  Run block = run;
  block.first_block += index;
  block.count = 1;
  block.col += index * run.block_cols;
  return block;
}

uint64_t zeros_in(const BlockMatrix& matrix, const Run& block, const uint8_t* mask) noexcept {
  const uint8_t* first = mask + block.row * matrix.cols() + block.col;
  uint64_t zeros = 0;
  for (size_t r = 0; r < block.block_rows; ++r) {
    const uint8_t* row = first + r * matrix.cols();
    zeros += static_cast<uint64_t>(std::count(row, row + block.block_cols, 0));
  }
  return zeros;
}

}  // namespace

MaskWriter::MaskWriter(const kernels::KernelTable& table, bool streaming)
    : table_(table),
      streaming_(streaming),
      staging_(std::make_unique_for_overwrite<uint8_t[]>(kStagingBytes)) {}

void MaskWriter::copy(uint8_t* to, const uint8_t* from, size_t bytes) const {
  if (streaming_) {
    table_.copy_streaming(to, from, bytes);
  } else {
    std::memcpy(to, from, bytes);
  }
}

void MaskWriter::finish() {
  if (streaming_) table_.fence();
}

void MaskWriter::write(const BlockMatrix& matrix, size_t first, size_t count, const uint64_t* keep,
                       uint8_t* mask) {
  // As many blocks at once as one staged row holds.
  const size_t cols = std::min<uint64_t>(matrix.block_cols(), kMaxStagedCols);
  const size_t limit = std::min(kStagingBytes / cols, kMaxRunBlocks);
  uint64_t aligned[kMaxRunBlocks / 64];
  if (matrix.drops_whole_blocks()) {
    matrix.for_each_strip(first, count, limit, [&](const Strip& strip) {
      write_whole(matrix, strip, align_bits(keep, strip.first_block - first, strip.count, aligned),
                  mask);
    });
    return;
  }
  matrix.for_each_run(first, count, limit, [&](const Run& run) {
    write_partial(matrix, run, align_bits(keep, run.first_block - first, run.count, aligned), mask);
  });
}

void MaskWriter::write_whole(const BlockMatrix& matrix, const Strip& strip, const uint64_t* keep,
                             uint8_t* mask) {
  const size_t cols = matrix.block_cols();
  const size_t dropped = table_.count_zero_bits(keep, strip.count);
  const bool last_dropped = !bit_at(keep, strip.count - 1);  // it alone may be clipped
  const size_t clipped = strip.count * cols - strip.width;   // columns that the last block lacks
  stats_.selected_blocks += dropped;
  stats_.dropped_values += strip.rows * (dropped * cols - (last_dropped ? clipped : 0));
  uint8_t* row = mask + strip.row * matrix.cols() + strip.col;
  // With one row there is nothing to repeat; a clipped block would be written past its end.
  if (!streaming_ && strip.rows == 1 && clipped == 0 && cols <= kMaxStagedCols) {
    table_.expand_bits(keep, strip.count, cols, row);
    return;
  }
  if (cols > kMaxStagedCols) {
    for (size_t r = 0; r < strip.rows; ++r, row += matrix.cols()) {
      for (size_t b = 0; b < strip.count; ++b) {
        std::memset(row + b * cols, bit_at(keep, b), std::min(cols, strip.width - b * cols));
      }
    }
    return;
  }
  table_.expand_bits(keep, strip.count, cols, staging_.get());
  for (size_t r = 0; r < strip.rows; ++r, row += matrix.cols()) {
    copy(row, staging_.get(), strip.width);
  }
}

void MaskWriter::write_partial(const BlockMatrix& matrix, const Run& run, const uint64_t* keep,
                               uint8_t* mask) {
  const size_t dropped = table_.count_zero_bits(keep, run.count);
  stats_.selected_blocks += dropped;
  // Selected blocks lose nothing then, which the kernel does not take.
  if (matrix.zeros_per_block() == 0) {
    for (size_t b = 0; b < run.count; ++b) write_block(matrix, block_of(run, b), true, mask);
    return;
  }
  if (matrix.is_clipped(run) || run.block_rows * run.block_cols > kernels::kMaxTile) {
    for (size_t b = 0; b < run.count; ++b) {
      write_block(matrix, block_of(run, b), bit_at(keep, b), mask);
      if (!bit_at(keep, b)) stats_.dropped_values += zeros_in(matrix, block_of(run, b), mask);
    }
    return;
  }
  uint64_t unresolved[kMaxRunBlocks / 64];
  uint8_t* target = mask + run.row * matrix.cols() + run.col;
  stats_.dropped_values += dropped * matrix.zeros_per_block();
  // One row fits the staging buffer, so it can be streamed; several are written where they belong.
  if (run.block_rows == 1) {
    matrix.drop_in_blocks(run, keep, staging_.get(), 0, unresolved);
    copy(target, staging_.get(), run.count * run.block_cols);
  } else {
    matrix.drop_in_blocks(run, keep, target, matrix.cols(), unresolved);
  }
  // Ties across the limit are rare, so the kernel leaves them to the plain rule.
  for (size_t word = 0; word * 64 < run.count; ++word) {
    for (uint64_t bits = unresolved[word]; bits != 0; bits &= bits - 1) {
      write_block(matrix, block_of(run, word * 64 + std::countr_zero(bits)), false, mask);
    }
  }
}

void MaskWriter::flip_block(const BlockMatrix& matrix, size_t block, bool keep, uint8_t* mask) {
  stats_.selected_blocks += keep ? -1 : 1;
  // The usual case of the one-pass path, without the geometry of runs.
  if (matrix.can_classify_values() && matrix.drops_whole_blocks()) {
    const uint64_t cols = matrix.block_cols();
    std::memset(mask + block * cols, keep, cols);
    stats_.dropped_values += keep ? -cols : cols;
    return;
  }
  matrix.for_each_run(block, 1, 1, [&](const Run& run) {
    if (keep) stats_.dropped_values -= zeros_in(matrix, run, mask);
    write_block(matrix, run, keep, mask);
    if (!keep) stats_.dropped_values += zeros_in(matrix, run, mask);
  });
}

void MaskWriter::write_block(const BlockMatrix& matrix, const Run& block, bool keep,
                             uint8_t* mask) {
  // A block that loses a part is kept first; drop_lowest then takes that part out of it.
  const int fill = keep || !matrix.drops_whole_blocks();
  uint8_t* target = mask + block.row * matrix.cols() + block.col;
  for (size_t r = 0; r < block.block_rows; ++r) {
    std::memset(target + r * matrix.cols(), fill, block.block_cols);
  }
  if (!keep && !matrix.drops_whole_blocks()) drop_lowest(matrix, block, mask);
}

namespace {

// Calls visit(key, row, col) for each value of a block, row-major.
template <typename Visit>
void for_each_key(const BlockMatrix& matrix, const Run& block, const Visit& visit) {
  for (size_t r = 0; r < block.block_rows; ++r) {
    for (size_t c = 0; c < block.block_cols; ++c) {
      visit(matrix.value_key(block.row + r, block.col + c), r, c);
    }
  }
}

constexpr size_t kSmallBlock = 64;

// The key of rank `rank` (from 0) among the keys of a block of at most kSmallBlock values; *below
// gets how many are smaller.
int64_t key_of_rank_in_small(const BlockMatrix& matrix, const Run& block, uint64_t rank,
                             uint64_t* below) {
  std::array<int64_t, kSmallBlock> keys{};
  int64_t* end = keys.data();
  for_each_key(matrix, block, [&](int64_t key, size_t, size_t) { *end++ = key; });
  int64_t* nth = keys.data() + rank;
  std::nth_element(keys.data(), nth, end);
  const int64_t found = *nth;
  *below = static_cast<uint64_t>(
      std::count_if(keys.data(), nth, [found](int64_t key) { return key < found; }));
  return found;
}

// The same for a block of any size, digit by digit from the top: no memory however large it is.
int64_t key_of_rank_in_large(const BlockMatrix& matrix, const Run& block, uint64_t rank,
                             uint64_t* below) {
  constexpr int kDigitBits = 8;
  *below = 0;
  int64_t prefix = 0;
  for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    std::array<uint64_t, size_t{1} << kDigitBits> counts{};
    // Twice, since shifting by all 64 bits at once has no meaning.
    const int64_t high = prefix >> shift >> kDigitBits;
    for_each_key(matrix, block, [&](int64_t key, size_t, size_t) {
      if (key >> shift >> kDigitBits == high) ++counts[static_cast<size_t>(key >> shift & 0xff)];
    });
    size_t digit = 0;
    while (*below + counts[digit] <= rank) *below += counts[digit++];
    prefix |= static_cast<int64_t>(static_cast<uint64_t>(digit) << shift);
  }
  return prefix;
}

}  // namespace

// The rule for one block, in full: numbers by (score, index), then NaN and the positions outside
// the matrix by index.
void MaskWriter::drop_lowest(const BlockMatrix& matrix, const Run& block, uint8_t* mask) {
  const int64_t nan =
      matrix.values().dtype == DType::kF64 ? kernels::kNanKey<int64_t> : kernels::kNanKey<int32_t>;
  uint64_t numbers = 0;
  for_each_key(matrix, block, [&](int64_t key, size_t, size_t) { numbers += key != nan; });
  const uint64_t zeros = matrix.zeros_per_block();
  // If all numbers are dropped, the threshold is NaN, and positions outside count among the NaN.
  int64_t threshold = nan;
  uint64_t below = numbers;
  if (zeros < numbers) {
    const bool small = block.block_rows * block.block_cols <= kSmallBlock;
    threshold = small ? key_of_rank_in_small(matrix, block, zeros, &below)
                      : key_of_rank_in_large(matrix, block, zeros, &below);
  }
  // Positions outside come after those of their row, and each uses up one of the ties.
  uint64_t ties = zeros - std::min(zeros, below);
  const uint64_t outside = threshold == nan ? matrix.block_cols() - block.block_cols : 0;
  for_each_key(matrix, block, [&](int64_t key, size_t r, size_t c) {
    const bool tie = key == threshold && ties > 0;
    if (key < threshold || tie) mask[(block.row + r) * matrix.cols() + block.col + c] = 0;
    ties -= tie;
    if (c + 1 == block.block_cols) ties -= std::min(ties, outside);
  });
}

}  // namespace winnow::core
