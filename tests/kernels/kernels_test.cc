// Kernels at every level against loops written out here, for all tail lengths, flush against guard
// pages on either side. Bytes at odd addresses are met by mask_test.cc, whose values are
// misaligned.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernel_table.h"
#include "support/guarded_buffer.h"
#include "support/reference_mask.h"
#include "support/values.h"
#include "winnow/core/mask.h"

namespace winnow::kernels {
namespace {

using testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

class KernelsTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  const KernelTable& table() const { return kernel_table(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, KernelsTest,
                         ::testing::ValuesIn(available_simd_levels().begin(),
                                             available_simd_levels().end()),
                         [](const auto& info) { return std::string(simd_level_name(info.param)); });

template <typename Key>
const KeyKernels<Key>& key_kernels(const KernelTable& table) {
  if constexpr (sizeof(Key) == 4) {
    return table.keys32;
  } else {
    return table.keys64;
  }
}

bool bit(const uint64_t* words, size_t i) { return words[i / 64] >> (i % 64) & 1; }

template <typename Key>
void check_key_kernels(const KeyKernels<Key>& kernels, size_t words, const Bracket<Key>& bracket) {
  const size_t n = words * kKeysPerWord;
  GuardedBuffer guarded(n * sizeof(Key), Flush::kEnd);
  Key* keys = guarded.as<Key>();
  std::mt19937_64 random(words);
  const Key palette[] = {
      bracket.lo, bracket.hi,   bracket.threshold, 0,
      5,          kNanKey<Key>, kPadKey<Key>,      static_cast<Key>(bracket.lo + 1)};
  for (size_t i = 0; i < n; ++i) keys[i] = std::max<Key>(0, palette[random() % std::size(palette)]);

  std::vector<uint64_t> keep(words), ties(words);
  std::vector<uint32_t> indices(n + 4);
  std::vector<Key> found_keys(n + 4);
  const CandidateSink<Key> sink{indices.data(), found_keys.data()};
  std::vector<uint32_t> inside;
  for (size_t i = 0; i < n; ++i) {
    if (keys[i] > bracket.lo && keys[i] < bracket.hi) inside.push_back(static_cast<uint32_t>(i));
  }
  const auto expect_found = [&](size_t found) {
    ASSERT_EQ(found, inside.size());
    for (size_t i = 0; i < found; ++i) {
      ASSERT_EQ(indices[i], inside[i]);
      ASSERT_EQ(found_keys[i], keys[inside[i]]);
    }
  };
  if (bracket.lo < bracket.hi) {  // the kernel's precondition
    uint64_t kept = 0;
    expect_found(kernels.classify(keys, words, bracket, keep.data(), sink, &kept));
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(bit(keep.data(), i), keys[i] >= bracket.threshold);
    EXPECT_EQ(kept, static_cast<uint64_t>(std::count_if(
                        keys, keys + n, [&](Key k) { return k >= bracket.threshold; })));
  }

  BracketCounts counts;
  expect_found(kernels.count(keys, words, bracket, &counts, sink));
  const auto count_if = [&](auto predicate) {
    return static_cast<uint64_t>(std::count_if(keys, keys + n, predicate));
  };
  EXPECT_EQ(counts.below_lo, count_if([&](Key k) { return k < bracket.lo; }));
  EXPECT_EQ(counts.equal_lo, count_if([&](Key k) { return k == bracket.lo; }));
  const bool one_bound = bracket.lo == bracket.hi;
  EXPECT_EQ(counts.equal_hi, one_bound ? 0 : count_if([&](Key k) { return k == bracket.hi; }));
  EXPECT_EQ(counts.inside, inside.size());

  EXPECT_EQ(kernels.compare(keys, words, bracket.threshold, keep.data(), ties.data()),
            count_if([&](Key k) { return k == bracket.threshold; }));
  for (size_t i = 0; i < n; ++i) {
    ASSERT_EQ(bit(keep.data(), i), keys[i] > bracket.threshold);
    ASSERT_EQ(bit(ties.data(), i), keys[i] == bracket.threshold);
  }
}

template <typename Key>
void check_all_brackets(const KeyKernels<Key>& kernels) {
  const Key nan = kNanKey<Key>;
  const Bracket<Key> brackets[] = {
      {3, 5, 9}, {-1, 1, 5}, {7, 7, 7}, {0, 1, nan}, {5, nan, kPadKey<Key>}, {nan - 1, nan, nan}};
  for (const Bracket<Key>& bracket : brackets) {
    for (size_t words = 0; words < 20; ++words) check_key_kernels(kernels, words, bracket);
  }
}

TEST_P(KernelsTest, KeysAreClassifiedCountedAndCompared) {
  check_all_brackets(table().keys32);
  check_all_brackets(table().keys64);
}

template <typename Key>
void check_count_below(const KeyKernels<Key>& kernels) {
  for (size_t n = 0; n < 258; ++n) {
    for (const Flush flush : {Flush::kStart, Flush::kEnd}) {
      GuardedBuffer guarded(n * sizeof(Key), flush);
      Key* keys = guarded.as<Key>();
      size_t expected = 0;
      for (size_t i = 0; i < n; ++i) {
        keys[i] = static_cast<Key>(i * 7919 % 101);
        expected += keys[i] < 50;
      }
      ASSERT_EQ(kernels.count_below(keys, n, 50), expected) << n;
    }
  }
}

TEST_P(KernelsTest, CountsKeysBelowABoundAtEveryLength) {
  check_count_below(table().keys32);
  check_count_below(table().keys64);
}

TEST_P(KernelsTest, ExpandsBitsToBytesOfEveryWidth) {
  std::mt19937_64 random(1);
  for (const size_t cols : {1, 2, 3, 4, 5, 8, 16, 100}) {
    for (size_t count = 0; count < 258; ++count) {
      const size_t words = (count + 63) / 64;
      GuardedBuffer bits_memory(words * 8, Flush::kEnd), out_memory(count * cols, Flush::kEnd);
      auto* bits = bits_memory.as<uint64_t>();
      for (size_t w = 0; w < words; ++w) bits[w] = random();
      auto* out = out_memory.as<uint8_t>();
      table().expand_bits(bits, count, cols, out);
      size_t zeros = 0;
      for (size_t i = 0; i < count; ++i) zeros += !bit(bits, i);
      for (size_t i = 0; i < count * cols; ++i) ASSERT_EQ(out[i], bit(bits, i / cols));
      ASSERT_EQ(table().count_zero_bits(bits, count), zeros);
    }
  }
}

TEST_P(KernelsTest, CopiesAroundTheCachesAtEveryLengthAndMisalignment) {
  std::vector<uint8_t> from(700);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 31);
  for (size_t bytes = 0; bytes < 258; ++bytes) {
    for (const Flush flush : {Flush::kStart, Flush::kEnd}) {
      GuardedBuffer guarded(bytes, flush);
      table().copy_streaming(guarded.as<uint8_t>(), from.data() + bytes, bytes);
      table().fence();
      ASSERT_EQ(std::memcmp(guarded.as<uint8_t>(), from.data() + bytes, bytes), 0) << bytes;
    }
  }
}

// Through compute_mask, so that scores, tiles and masks meet every tail: values and mask both
// flush.
void check_mask_between_guards(DType dtype, MatrixShape shape, const DataNormConfig& config,
                               Flush flush) {
  const size_t bytes = shape.numel() * dtype_bits(dtype) / 8;
  testing::Values source(dtype, shape, shape.cols);
  testing::fill(source, shape, testing::Fill::kNormal, shape.numel());
  GuardedBuffer values(bytes, flush), mask(shape.numel(), flush);
  std::memcpy(values.as<char>(), source.view().data, bytes);
  const MatrixView view = contiguous_view(values.as<char>(), dtype, shape);
  const Result<MaskStats> stats = compute_mask(view, config, {mask.as<uint8_t>(), shape.numel()});
  ASSERT_TRUE(stats.ok());
  const std::vector<uint8_t> expected = reference::masks({view}, config)[0];
  ASSERT_EQ(std::vector<uint8_t>(mask.as<uint8_t>(), mask.as<uint8_t>() + shape.numel()), expected)
      << shape.rows << "x" << shape.cols << " " << dtype_name(dtype) << " block "
      << config.sparse_block_shape.rows << "x" << config.sparse_block_shape.cols;
}

TEST_P(KernelsTest, MasksStayInsideTheirMemoryAtEveryTail) {
  ASSERT_TRUE(set_simd_level(GetParam()).ok());
  const BlockShape blocks[] = {{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 4}, {16, 1}, {8, 8}, {3, 5}};
  for (const DType dtype : testing::kPrunable) {
    for (const BlockShape block : blocks) {
      for (size_t cols = 1; cols < 150; cols += 1 + cols / 40) {
        const size_t rows = block.rows == 1 ? 1 + cols % 2 : block.rows + cols % 3;
        const Flush flush = cols % 2 == 0 ? Flush::kStart : Flush::kEnd;
        const uint64_t half = (block.rows * block.cols + 1) / 2;
        DataNormConfig config{.sparsity_level = 0.5, .sparse_block_shape = block};
        check_mask_between_guards(dtype, {rows, cols}, config, flush);
        config.zeros_per_block = half;
        check_mask_between_guards(dtype, {rows, cols}, config, flush);
        if (HasFatalFailure()) return;
      }
    }
  }
  ASSERT_TRUE(set_simd_level(available_simd_levels().front()).ok());
}

}  // namespace
}  // namespace winnow::kernels
