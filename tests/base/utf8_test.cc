#include "winnow/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace winnow {
namespace {

TEST(Utf8, DecodesTheEndsOfEachLength) {
  const std::pair<std::string_view, uint32_t> cases[] = {{"\x7F", 0x7F},
                                                         {"\xC2\x80", 0x80},
                                                         {"\xDF\xBF", 0x7FF},
                                                         {"\xE0\xA0\x80", 0x800},
                                                         {"\xED\x9F\xBF", 0xD7FF},
                                                         {"\xEE\x80\x80", 0xE000},
                                                         {"\xEF\xBF\xBF", 0xFFFF},
                                                         {"\xF0\x90\x80\x80", 0x10000},
                                                         {"\xF4\x8F\xBF\xBF", 0x10FFFF}};
  for (const auto& [text, value] : cases) {
    EXPECT_EQ(decode_utf8(text).value, value);
    EXPECT_EQ(decode_utf8(text).length, text.size());
  }
}

TEST(Utf8, FindsWhatRfc3629DoesNotAllow) {
  for (const std::string_view invalid :
       {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xC2"}) {
    for (const size_t before : {0, 7, 8, 9}) {
      const std::string text = std::string(before, 'a') + std::string(invalid);
      EXPECT_EQ(find_invalid_utf8(text), before);
    }
  }
  EXPECT_EQ(find_invalid_utf8("plain, and \xE2\x82\xAC"), 14u);
}

}  // namespace
}  // namespace winnow
