// ThresholdSearch where its sample is misled: the paths that ordinary data hardly ever takes.
#include "core/selection/threshold_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "core/tasks/tasks.h"
#include "winnow/core/global_selection.h"

namespace winnow::core {
namespace {

using kernels::kKeysPerWord;

template <typename Key>
class ThresholdSearchTest : public ::testing::Test {
 protected:
  // Finds the drop-th smallest of `keys` at every SIMD level, sampling only what `sample` shows;
  // returns the passes taken, the same at all of them. In little memory the answer is the same.
  int search(const std::vector<Key>& keys, uint64_t drop, const std::vector<Key>& sample) {
    const auto levels = available_simd_levels();
    const int passes = search_at(levels.front(), keys, drop, sample, UINT64_MAX);
    for (const SimdLevel level : levels.subspan(1)) {
      EXPECT_EQ(search_at(level, keys, drop, sample, UINT64_MAX), passes) << simd_level_name(level);
    }
    EXPECT_LE(search_at(levels.front(), keys, drop, sample, GlobalSelection::kLeastBytes), 8);
    return passes;
  }

  // The same from all keys at once.
  void search_at_once(const std::vector<Key>& keys, uint64_t drop) {
    std::vector<size_t> task_begin;
    for (size_t i = 0; i < keys.size(); i += kTaskBlocks) task_begin.push_back(i);
    for (const SimdLevel level : available_simd_levels()) {
      ThresholdSearch<Key> search(kernels::kernel_table(level), keys.size(), drop,
                                  task_begin.size());
      search.resolve_among(keys, task_begin);
      EXPECT_EQ(search.pass(), ThresholdSearch<Key>::Pass::kDone);
      expect_answer(search, keys, drop, task_begin.size());
    }
  }

 private:
  int search_at(SimdLevel level, const std::vector<Key>& keys, uint64_t drop,
                const std::vector<Key>& sample, uint64_t max_bytes) {
    const size_t tasks = (keys.size() + kTaskBlocks - 1) / kTaskBlocks;
    ThresholdSearch<Key> search(kernels::kernel_table(level), keys.size(), drop, tasks, max_bytes);
    for (size_t i = 0; i < sample.size(); i += 16) {
      search.add_sample({sample.data() + i, std::min<size_t>(16, sample.size() - i)});
    }
    search.end_sample();
    int passes = 1;
    for (; search.pass() != ThresholdSearch<Key>::Pass::kDone; ++passes) {
      // From the last on, two at a time: the order in which tasks are opened is free.
      for (size_t end = tasks; end > 0; end -= std::min<size_t>(end, 2)) {
        const size_t begin = end - std::min<size_t>(end, 2);
        search.open_tasks(begin, end - begin);
        for (size_t t = begin; t < end; ++t) show(search, keys, t);
        search.close_tasks();
      }
      EXPECT_TRUE(search.end_pass());
    }
    expect_answer(search, keys, drop, tasks);
    return passes;
  }

  void show(ThresholdSearch<Key>& search, const std::vector<Key>& keys, size_t t) {
    const size_t begin = t * kTaskBlocks, end = std::min(keys.size(), begin + kTaskBlocks);
    std::vector<Key> padded(keys.begin() + begin, keys.begin() + end);
    const size_t count = padded.size();
    padded.resize((count + kKeysPerWord - 1) / kKeysPerWord * kKeysPerWord);
    pad_keys(padded.data(), count);
    search.show(t, padded.data(), count);
  }

  void expect_answer(const ThresholdSearch<Key>& search, const std::vector<Key>& keys,
                     uint64_t drop, size_t tasks) {
    std::vector<Key> sorted = keys;
    std::sort(sorted.begin(), sorted.end());
    const Key expected = sorted[drop - 1];
    const auto below = std::lower_bound(sorted.begin(), sorted.end(), expected) - sorted.begin();
    EXPECT_EQ(search.threshold().key, expected);
    EXPECT_EQ(search.threshold().ties, drop - static_cast<uint64_t>(below));
    uint64_t ties_left = search.threshold().ties;
    for (size_t t = 0; t < tasks; ++t) {
      EXPECT_EQ(search.ties_left_at(t), ties_left) << t;
      const auto begin = keys.begin() + static_cast<ptrdiff_t>(t * kTaskBlocks);
      const auto end =
          keys.begin() + static_cast<ptrdiff_t>(std::min(keys.size(), (t + 1) * kTaskBlocks));
      ties_left -= std::min(ties_left, static_cast<uint64_t>(std::count(begin, end, expected)));
    }
  }
};

using KeyTypes = ::testing::Types<int32_t, int64_t>;
TYPED_TEST_SUITE(ThresholdSearchTest, KeyTypes);

template <typename Key>
std::vector<Key> random_keys(size_t count, Key low, Key high) {
  std::mt19937_64 random(1);
  std::uniform_int_distribution<Key> pick(low, high);
  std::vector<Key> keys(count);
  for (Key& key : keys) key = pick(random);
  return keys;
}

constexpr size_t kCount = 600000;  // more than candidate_limit lets through

TYPED_TEST(ThresholdSearchTest, TakesTwoPassesWithAFairSample) {
  const auto keys = random_keys<TypeParam>(kCount, 0, kernels::kNanKey<TypeParam>);
  const std::vector<TypeParam> sample(keys.begin(), keys.begin() + 8000);
  EXPECT_EQ(this->search(keys, kCount / 2, sample), 2);
  EXPECT_EQ(this->search(keys, 1, sample), 2);
  EXPECT_EQ(this->search(keys, kCount, sample), 2);
}

TYPED_TEST(ThresholdSearchTest, RecoversWhereTheSampleIsFarTooLow) {
  const auto keys = random_keys<TypeParam>(kCount, 1000000, kernels::kNanKey<TypeParam>);
  const auto sample = random_keys<TypeParam>(8000, 0, 999999);
  EXPECT_LE(this->search(keys, kCount / 3, sample), 8);
}

TYPED_TEST(ThresholdSearchTest, RecoversWhereTheSampleIsFarTooHigh) {
  const auto keys = random_keys<TypeParam>(kCount, 0, 1000000);
  const auto sample =
      random_keys<TypeParam>(8000, kernels::kNanKey<TypeParam> - 1000, kernels::kNanKey<TypeParam>);
  EXPECT_LE(this->search(keys, kCount / 3, sample), 8);
}

TYPED_TEST(ThresholdSearchTest, RecoversWhereTooManyKeysLieInsideTheBracket) {
  auto keys = random_keys<TypeParam>(kCount, 500000, 500007);  // eight values, none of them sampled
  auto sample = random_keys<TypeParam>(8000, 0, 1000000);
  EXPECT_LE(this->search(keys, kCount / 2, sample), 8);
}

TYPED_TEST(ThresholdSearchTest, FindsEveryRankOfKeysThatAreAllEqual) {
  const std::vector<TypeParam> keys(kCount, 77);
  const std::vector<TypeParam> sample(4096, 77);
  for (const uint64_t drop : {uint64_t{1}, uint64_t{70000}, uint64_t{kCount}}) {
    EXPECT_LE(this->search(keys, drop, sample), 2);
  }
}

TYPED_TEST(ThresholdSearchTest, FindsKeysAtBothEndsOfTheirRange) {
  std::vector<TypeParam> keys(kCount, 0);
  std::fill(keys.begin() + kCount / 2, keys.end(), kernels::kNanKey<TypeParam>);
  for (const uint64_t drop : {kCount / 2, kCount / 2 + 1}) {
    EXPECT_LE(this->search(keys, drop,
                           {keys.begin() + kCount / 2 - 4000, keys.begin() + kCount / 2 + 4000}),
              8);
  }
}

TYPED_TEST(ThresholdSearchTest, FindsEveryRankAmongAllKeysAtOnce) {
  const TypeParam nan = kernels::kNanKey<TypeParam>;
  for (const size_t count : {1, 2, 3, 63, 64, 65, 200, 5000}) {
    for (const TypeParam high : {TypeParam{0}, TypeParam{3}, TypeParam{1000}, nan}) {
      auto keys = random_keys<TypeParam>(count, 0, high);
      for (size_t i = 0; i < keys.size(); i += 7) keys[i] = nan;
      const size_t step = std::max<size_t>(1, count / 40);
      for (size_t drop = 1; drop <= count; drop += step) this->search_at_once(keys, drop);
      this->search_at_once(keys, count);
    }
  }
}

TYPED_TEST(ThresholdSearchTest, CountsTheTiesOfEarlierTasksAtOnce) {
  const auto keys = random_keys<TypeParam>(3 * kTaskBlocks + 5, 0, 9);
  for (const size_t drop : {size_t{1}, kTaskBlocks, 2 * kTaskBlocks + 77, keys.size()}) {
    this->search_at_once(keys, drop);
  }
}

TEST(SamplePlan, TakesNoMoreKeysThanItMay) {
  constexpr uint64_t kTotal = uint64_t{1} << 34, kMost = uint64_t{1} << 20;
  EXPECT_GT(SamplePlan::of(kTotal).lines * SamplePlan::kLineKeys, kMost);
  EXPECT_EQ(SamplePlan::of(kTotal, kMost).lines * SamplePlan::kLineKeys, kMost);
}

TEST(SamplePlan, LinesLieInsideTheirStrataInOrder) {
  for (const uint64_t total :
       {1ull, 15ull, 16ull, 17ull, 4096ull, 4097ull, 100000ull, 64000001ull}) {
    const SamplePlan plan = SamplePlan::of(total);
    ASSERT_GT(plan.lines, 0u);
    uint64_t past = 0;
    for (uint64_t line = 0; line < plan.lines; ++line) {
      ASSERT_GE(plan.line_begin(line), past) << total;
      past = plan.line_end(line);
      ASSERT_GT(past, plan.line_begin(line)) << total;
      ASSERT_EQ(plan.first_line_from(plan.line_begin(line)), line) << total;
    }
    ASSERT_LE(past, total);
    EXPECT_EQ(plan.first_line_from(total), plan.lines);
  }
}

}  // namespace
}  // namespace winnow::core
