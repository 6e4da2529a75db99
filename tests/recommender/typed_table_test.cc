#include "typed_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace recommender {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// What the DataError of `call` says; "" where there was none.
template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

std::string parse_error(const std::string& text) {
  return error_of([&] { TypedTable::parse("t", text); });
}

TEST(TypedTable, HoldsTheFieldsOfEachLine) {
  const TypedTable table = TypedTable::parse("t", "a:token\tb:float\n1\t2.5\nx y\t-3\n");
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.at(0, 0), "1");
  EXPECT_EQ(table.at(1, 0), "x y");
  EXPECT_EQ(table.number(0, table.column("b", "float")), 2.5);
  EXPECT_EQ(table.number(1, 1), -3);
}

TEST(TypedTable, MayHaveNoRows) { EXPECT_EQ(TypedTable::parse("t", "a:token\n").rows(), 0u); }

TEST(TypedTable, KeepsItsFieldsWhenItIsMoved) {
  // A short text lies inside the string object, so pointers into it would not survive a move.
  TypedTable table = TypedTable::parse("t", "a:token\n1\n");
  const TypedTable moved = std::move(table);
  EXPECT_EQ(moved.at(0, 0), "1");
}

TEST(TypedTable, PartsWordsBySingleSpaces) {
  const TypedTable table = TypedTable::parse("t", "a:token_seq\nx yy z\nx  y\n");
  EXPECT_THAT(table.words(0, 0), ElementsAre("x", "yy", "z"));
  EXPECT_THAT(error_of([&] { table.words(1, 0); }), StartsWith("t:3: a: 'x  y' holds an empty"));
}

TEST(TypedTable, RefusesMalformedTextAndNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "t is empty"},
      {"a:token\n1", "t:2: no newline at the end"},
      {"\n", "t:1: '' is not NAME:TYPE"},
      {"a\n1\n", "t:1: 'a' is not NAME:TYPE"},
      {":token\n1\n", "t:1: ':token' is not NAME:TYPE"},
      {"a:int\n1\n", "t:1: 'a:int' is not NAME:TYPE"},
      {"a:token\ta:float\n1\t1\n", "t:1: two columns are called 'a'"},
      {"a:token\tb:token\n1\t2\n1\n", "t:3: 1 fields where the header has 2"},
      {"a:token\n1\t2\n", "t:2: 2 fields where the header has 1"},
      {"a:token\n\n", "t:2: a: is empty"},
      {"a:token\n1\r\n", "t:2: a: holds a carriage return"},
      {std::string("a:token\n\0\n", 10), "t:2: a: holds a carriage return or NUL"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(parse_error(text), StartsWith(message)) << text;
  }
}

TEST(TypedTable, RefusesColumnsThatAreMissingOrOfAnotherType) {
  const TypedTable table = TypedTable::parse("t", "a:token\n1\n");
  EXPECT_EQ(error_of([&] { table.column("b", "token"); }), "t:1: no column is called 'b'");
  EXPECT_EQ(error_of([&] { table.column("a", "float"); }),
            "t:1: 'a' is of type token, expected float");
}

TEST(TypedTable, RefusesWhatIsNotANumber) {
  for (const char* text : {"x", "1x", " 1", "1 ", "nan", "inf", "1e999", "0x10", "+1"}) {
    const TypedTable table = TypedTable::parse("t", std::string("a:float\n") + text + "\n");
    EXPECT_THAT(error_of([&] { table.number(0, 0); }), HasSubstr("t:2: a: ")) << text;
  }
}

TEST(TypedTable, NamesAFileThatIsNotThere) {
  EXPECT_EQ(error_of([] { TypedTable::read("/no/such.user"); }), "/no/such.user cannot be opened");
}

}  // namespace
}  // namespace recommender
