#include "winnow/core/strided_view.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace winnow {
namespace {

using Numbers = std::vector<int64_t>;

TEST(StridedLayout, IsContiguousInRowMajorOrderAlone) {
  const auto is_contiguous = [](Numbers sizes, Numbers strides) {
    return StridedLayout{sizes, strides}.is_contiguous();
  };
  EXPECT_TRUE(is_contiguous({}, {}));
  EXPECT_TRUE(is_contiguous({2, 3}, {3, 1}));
  EXPECT_TRUE(is_contiguous({2, 1, 3}, {3, 99, 1}));  // of one index no stride is used
  EXPECT_TRUE(is_contiguous({2, 0, 3}, {7, 7, 7}));
  EXPECT_FALSE(is_contiguous({2, 3}, {1, 2}));
  EXPECT_FALSE(is_contiguous({2, 3}, {4, 1}));
  EXPECT_FALSE(is_contiguous({3}, {-1}));
}

TEST(StridedLayout, CountsElementsOfEmptyShapesWithoutOverflow) {
  const Numbers sizes = {int64_t{1} << 40, int64_t{1} << 40, 0}, strides = {1, 1, 1};
  EXPECT_EQ((StridedLayout{sizes, strides}.numel()), 0);
  EXPECT_EQ(StridedLayout{}.numel(), 1);
}

/// By looking at the place of every element.
bool has_distinct_places(const Numbers& sizes, const Numbers& strides) {
  std::set<int64_t> places;
  Numbers index(sizes.size(), 0);
  for (;;) {
    const int64_t place =
        std::inner_product(index.begin(), index.end(), strides.begin(), int64_t{0});
    if (!places.insert(place).second) return false;
    size_t d = sizes.size();
    while (d-- > 0 && ++index[d] == sizes[d]) index[d] = 0;
    if (d == SIZE_MAX) return true;
  }
}

TEST(StridedLayout, NeverCallsSharedPlacesDistinct) {
  std::mt19937_64 random(1);
  size_t said_yes = 0;
  for (int i = 0; i < 20'000; ++i) {
    Numbers sizes(random() % 4), strides(sizes.size());
    for (int64_t& size : sizes) size = 1 + static_cast<int64_t>(random() % 4);
    for (int64_t& stride : strides) stride = static_cast<int64_t>(random() % 25) - 12;
    const bool distinct = StridedLayout{sizes, strides}.has_distinct_places();
    said_yes += distinct;
    if (!distinct) continue;
    ASSERT_TRUE(has_distinct_places(sizes, strides));
  }
  EXPECT_GT(said_yes, 5000u);
}

TEST(StridedLayout, CallsViewsOfATensorDistinct) {
  const auto distinct = [](Numbers sizes, Numbers strides) {
    return StridedLayout{sizes, strides}.has_distinct_places();
  };
  EXPECT_TRUE(distinct({5, 7}, {1, 5}));        // transposed
  EXPECT_TRUE(distinct({2, 3, 4}, {4, 8, 1}));  // permuted
  EXPECT_TRUE(distinct({4, 3}, {-6, 2}));       // turned, every other column
  EXPECT_FALSE(distinct({5, 7}, {0, 1}));       // expanded
  EXPECT_FALSE(distinct({5, 7}, {3, 3}));       // equal strides
  EXPECT_FALSE(distinct({5, 7}, {6, 1}));       // rows that overlap
}

/// A target of shape [4] at these bytes; values are F32.
class Targets {
 public:
  Targets& add(size_t values_at, size_t mask_at, int device = 0) {
    targets_.push_back({{memory_ + values_at, DType::kF32, {sizes_, strides_}},
                        {memory_ + mask_at, {sizes_, strides_}},
                        device});
    return *this;
  }
  std::string error() const { return std::string(check_targets(targets_).message()); }
  std::vector<StridedTarget>& list() { return targets_; }

 private:
  const Numbers sizes_ = {4}, strides_ = {1};
  alignas(8) uint8_t memory_[256] = {};
  std::vector<StridedTarget> targets_;
};

TEST(CheckTargets, AcceptsMasksThatTouchTheirNeighbours) {
  EXPECT_EQ(Targets().add(0, 16).add(24, 20).error(), "");
  EXPECT_EQ(Targets().error(), "");
}

TEST(CheckTargets, RefusesSharedMemory) {
  EXPECT_EQ(Targets().add(0, 15).error(), "mask: expected memory of its own, found that of data");
  EXPECT_EQ(Targets().add(32, 0).add(64, 3).error(),
            "masks[1]: expected memory of its own, found that of masks[0]");
  EXPECT_EQ(Targets().add(32, 0).add(64, 4).add(96, 47).error(),
            "masks[2]: expected memory of its own, found that of data[0]");
  EXPECT_EQ(Targets().add(32, 0).add(32, 4).error(), "");  // the same data twice
}

TEST(CheckTargets, KeepsDevicesAndUnknownMemoryApart) {
  EXPECT_EQ(Targets().add(32, 0).add(64, 3, 1).error(), "");
  Targets unknown;
  unknown.add(32, 0).add(64, 0);
  unknown.list()[1].mask.data = nullptr;
  EXPECT_EQ(unknown.error(), "");
}

TEST(CheckTargets, FollowsNegativeStridesDownwards) {
  const Numbers turned = {-1};
  Targets targets;
  targets.add(32, 16);
  targets.list()[0].values.layout.strides = turned;  // bytes 20 to 35
  EXPECT_EQ(targets.error(), "");
  targets.list()[0].mask.data += 1;
  EXPECT_EQ(targets.error(), "mask: expected memory of its own, found that of data");
}

TEST(CheckTargets, RefusesOtherShapesLayoutsAndTypes) {
  const Numbers other = {2, 2}, gaps = {2};
  Targets shape, strides, type;
  shape.add(0, 32).list()[0].mask.layout.sizes = other;
  EXPECT_EQ(shape.error(), "mask: expected the data's shape [4], found [2, 2]");
  strides.add(0, 32).list()[0].mask.layout.strides = gaps;
  EXPECT_EQ(strides.error(), "mask: expected contiguous memory, found strides [2]");
  type.add(0, 32).add(16, 36).list()[1].values.dtype = DType::kI64;
  EXPECT_EQ(type.error(), "data[1]: expected dtype F32, F64, F16 or BF16, found I64");
}

}  // namespace
}  // namespace winnow
