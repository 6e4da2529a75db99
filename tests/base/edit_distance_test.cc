#include "winnow/base/edit_distance.h"

#include <gtest/gtest.h>

#include <string>

namespace winnow {
namespace {

TEST(EditDistance, CountsInsertionsRemovalsAndReplacements) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("level", "level"), 0u);
  EXPECT_EQ(edit_distance("level", "levl"), 1u);
  EXPECT_EQ(edit_distance("levl", "level"), 1u);
  EXPECT_EQ(edit_distance("lavel", "level"), 1u);
  EXPECT_EQ(edit_distance("leevl", "level"), 2u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(EditDistance, AnyTextIsFree) {
  const std::string any(1, kAnyText);
  EXPECT_EQ(edit_distance("a" + any + "z", "abcdefz"), 0u);
  EXPECT_EQ(edit_distance(any, "whatever"), 0u);
  EXPECT_EQ(edit_distance("a" + any + "z", "bcdefz"), 1u);
}

TEST(IsMisspelt, AllowsTwoLettersAndFewerInShortNames) {
  EXPECT_TRUE(is_misspelt("sparsity_level", "sparsity_lvel"));
  EXPECT_TRUE(is_misspelt("zeros_per_block", "zeroes_per_blocks"));
  EXPECT_TRUE(is_misspelt("sparsity_level", "sparsity_lve"));
  EXPECT_FALSE(is_misspelt("sparsity_level", "sparsity_lv"));
  EXPECT_TRUE(is_misspelt("norm", "norn"));
  EXPECT_FALSE(is_misspelt("norm", "nm"));
}

}  // namespace
}  // namespace winnow
