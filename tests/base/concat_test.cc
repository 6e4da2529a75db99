#include "winnow/base/concat.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace winnow {
namespace {

TEST(Concat, JoinsTextAndNumbers) {
  const std::string_view view = "view";
  EXPECT_EQ(concat(), "");
  EXPECT_EQ(concat("text ", view, 0, std::string("!")), "text view0!");
  EXPECT_EQ(concat(UINT64_MAX, INT64_MIN), "18446744073709551615-9223372036854775808");
}

}  // namespace
}  // namespace winnow
