#include "winnow/base/concat.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace winnow {
namespace {

TEST(Concat, JoinsTextAndNumbers) {
  const std::string_view view = "view";
  EXPECT_EQ(concat(), "");
  EXPECT_EQ(concat("text ", view, 0, std::string("!")), "text view0!");
  EXPECT_EQ(concat(UINT64_MAX, INT64_MIN), "18446744073709551615-9223372036854775808");
}

TEST(ListText, PutsNumbersInBrackets) {
  EXPECT_EQ(list_text(std::vector<int64_t>{}), "[]");
  EXPECT_EQ(list_text(std::vector<int64_t>{-2}), "[-2]");
  EXPECT_EQ(list_text(std::vector<uint64_t>{2, UINT64_MAX}), "[2, 18446744073709551615]");
}

}  // namespace
}  // namespace winnow
