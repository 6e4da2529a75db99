// The kernels over keys at every level, for all tails, flush against guard pages on either side.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/value_kernels.h"
#include "support/simd_levels.h"

namespace winnow::kernels {
namespace {

using testing::Fill;
using testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

class KeysTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  const KernelTable& table() const { return kernel_table(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, KeysTest, testing::every_level(), testing::level_name);

bool bit(const uint64_t* words, size_t i) { return words[i / 64] >> (i % 64) & 1; }

// Room for the candidates among keys[0, n), and what has to stand in it afterwards.
template <typename Key>
class Found {
 public:
  Found(const Key* keys, size_t n, const Bracket<Key>& bracket)
      : keys_(keys), indices_(n + 4), found_keys_(n + 4) {
    for (size_t i = 0; i < n; ++i) {
      if (keys[i] > bracket.lo && keys[i] < bracket.hi) inside_.push_back(i);
    }
  }

  CandidateSink<Key> sink() { return {indices_.data(), found_keys_.data()}; }
  size_t inside() const { return inside_.size(); }

  void expect(size_t found) const {
    ASSERT_EQ(found, inside_.size());
    for (size_t i = 0; i < found; ++i) {
      ASSERT_EQ(indices_[i], inside_[i]);
      ASSERT_EQ(found_keys_[i], keys_[inside_[i]]);
    }
  }

 private:
  const Key* keys_;
  std::vector<size_t> inside_;
  std::vector<uint32_t> indices_;
  std::vector<Key> found_keys_;
};

// Expects of call(keep, sink, &kept) what `classify` of keys[0, n) has to give.
template <typename Key, typename Call>
void expect_classified(const Key* keys, size_t n, const Bracket<Key>& bracket, const Call& call) {
  std::vector<uint64_t> keep(n / kKeysPerWord);
  Found<Key> found(keys, n, bracket);
  uint64_t kept = 3, expected = 3;  // is added to
  found.expect(call(keep.data(), found.sink(), &kept));
  for (size_t i = 0; i < n; ++i) {
    ASSERT_EQ(bit(keep.data(), i), keys[i] >= bracket.threshold);
    expected += keys[i] >= bracket.threshold;
  }
  ASSERT_EQ(kept, expected);
}

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
  if (bracket.lo < bracket.threshold) {  // the kernel's precondition
    expect_classified(keys, n, bracket, [&](uint64_t* bits, auto sink, uint64_t* kept) {
      return kernels.classify(keys, words, bracket, bits, sink, kept);
    });
  }

  BracketCounts counts;
  Found<Key> found(keys, n, bracket);
  found.expect(kernels.count(keys, words, bracket, &counts, found.sink()));
  const auto count_if = [&](auto predicate) {
    return static_cast<uint64_t>(std::count_if(keys, keys + n, predicate));
  };
  EXPECT_EQ(counts.below_lo, count_if([&](Key k) { return k < bracket.lo; }));
  EXPECT_EQ(counts.equal_lo, count_if([&](Key k) { return k == bracket.lo; }));
  const bool one_bound = bracket.lo == bracket.hi;
  EXPECT_EQ(counts.equal_hi, one_bound ? 0 : count_if([&](Key k) { return k == bracket.hi; }));
  EXPECT_EQ(counts.inside, found.inside());

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

TEST_P(KeysTest, KeysAreClassifiedCountedAndCompared) {
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

TEST_P(KeysTest, CountsKeysBelowABoundAtEveryLength) {
  check_count_below(table().keys32);
  check_count_below(table().keys64);
}

// Brackets in the middle of the keys, open below, and open above.
template <typename Key>
std::vector<Bracket<Key>> brackets_of(std::vector<Key> keys) {
  std::sort(keys.begin(), keys.end());
  const Key lo = keys[keys.size() / 4];
  const Key threshold = std::max<Key>(keys[keys.size() / 2], lo + 1);
  const Key hi = std::max(keys[keys.size() * 3 / 4], threshold);
  return {{lo, threshold, hi}, {-1, threshold, hi}, {lo, threshold, kPadKey<Key>}};
}

TEST_P(KeysTest, ValuesAreClassifiedAsTheirKeysAre) {
  for_each_value_kernels(table(), [&]<typename Key>(DType dtype, Norm norm,
                                                    const ValueKernels<Key>& kernels) {
    for (size_t words = 1; words < 9; ++words) {
      const size_t n = words * kKeysPerWord, cols = words % 2 == 0 ? 1 : 4;
      const Fill fill = testing::kAllFills[words % std::size(testing::kAllFills)];
      const Flush flush = words % 3 == 0 ? Flush::kStart : Flush::kEnd;
      GuardedMatrix values(dtype, {1, n * cols}, n * cols, fill, flush, words % 3);
      const std::vector<Key> keys = keys_ref<Key>(values.view(), cols, norm);
      for (const Bracket<Key>& bracket : brackets_of(keys)) {
        expect_classified(keys.data(), n, bracket, [&](uint64_t* bits, auto sink, uint64_t* kept) {
          return kernels.classify_values(values.view().data, cols, words, bracket, bits, sink,
                                         kept);
        });
        ASSERT_FALSE(HasFatalFailure()) << dtype_name(dtype) << " " << words << " words";
      }
    }
  });
}

}  // namespace
}  // namespace winnow::kernels
