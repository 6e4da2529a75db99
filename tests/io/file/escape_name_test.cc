#include "winnow/io/escape_name.h"

#include <gtest/gtest.h>

#include <string>

namespace winnow {
namespace {

TEST(EscapeName, KeepsPrintableText) {
  EXPECT_EQ(escape_name("layer.0/weight é 漢 😀"), "layer.0/weight é 漢 😀");
  EXPECT_EQ(escape_name(""), "");
}

TEST(EscapeName, EscapesWhatEndsAQuotation) { EXPECT_EQ(escape_name(R"(a"b\c)"), R"(a\"b\\c)"); }

TEST(EscapeName, EscapesControlBytes) {
  EXPECT_EQ(escape_name(std::string_view("\0\n\x1B[2J\x7F", 7)), R"(\x00\x0a\x1b[2J\x7f)");
}

TEST(EscapeName, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(escape_name("\xFF\xC0\x80\xE2\x82"), R"(\xff\xc0\x80\xe2\x82)");
  EXPECT_EQ(escape_name("\xED\xA0\x80\xF4\x90\x80\x80"), R"(\xed\xa0\x80\xf4\x90\x80\x80)");
}

TEST(EscapeName, EscapesWhatATerminalObeys) {
  EXPECT_EQ(escape_name("\u009B\u202E\u200B\u2066\uFEFF\u2028"),
            R"(\u009b\u202e\u200b\u2066\ufeff\u2028)");
  EXPECT_EQ(escape_name("\u00A0\u2010\u206F\u2070"), "\u00A0\u2010\\u206f\u2070");
}

TEST(EscapeName, ShortensLongNames) {
  EXPECT_EQ(escape_name(std::string(160, 'n')), std::string(160, 'n'));
  EXPECT_EQ(escape_name(std::string(161, 'n')), std::string(128, 'n') + "... (161 bytes)");
  EXPECT_LE(escape_name(std::string(100'000, '\x01')).size(), 600u);
}

TEST(EscapeName, CutsBetweenCodePoints) {
  const std::string name = std::string(127, 'n') + "é" + std::string(60, 'n');
  EXPECT_EQ(escape_name(name), std::string(127, 'n') + "é... (189 bytes)");
}

}  // namespace
}  // namespace winnow
