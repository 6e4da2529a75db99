// The worked example of docs/masks.md.
#include <gtest/gtest.h>

#include <vector>

#include "winnow/core/mask.h"

namespace winnow {
namespace {

using Mask = std::vector<uint8_t>;

Mask mask_of(const DataNormConfig& config) {
  const float values[] = {3, -1, 0.5, 2, -4, 1, 1, -2, 0, 5};
  Mask mask(10, 7);
  EXPECT_TRUE(compute_mask(contiguous_view(values, DType::kF32, {2, 5}), config, mask).ok());
  return mask;
}

TEST(DocsMasks, TheExampleHolds) {
  DataNormConfig config{.sparsity_level = 0.5, .sparse_block_shape = {1, 2}};
  EXPECT_EQ(mask_of(config), (Mask{1, 1, 0, 0, 1, 0, 0, 0, 0, 1}));
  config.norm = Norm::kL2;
  EXPECT_EQ(mask_of(config), (Mask{1, 1, 0, 0, 1, 0, 0, 0, 0, 1}));
  config.norm = Norm::kL1;
  config.sparsity_level = 0.2;
  EXPECT_EQ(mask_of(config), (Mask{1, 1, 1, 1, 1, 0, 0, 1, 1, 1}));
  config.sparsity_level = 0.25;
  EXPECT_EQ(mask_of(config), (Mask{1, 1, 1, 1, 1, 0, 0, 0, 0, 1}));
  config.sparsity_level = 0.5;
  config.zeros_per_block = 1;
  EXPECT_EQ(mask_of(config), (Mask{1, 1, 0, 1, 1, 0, 1, 1, 0, 1}));
  EXPECT_EQ(mask_of(nm_config(2, 4)), (Mask{1, 0, 0, 1, 0, 0, 1, 1, 0, 0}));
}

}  // namespace
}  // namespace winnow
