// The short way through JSON gives the events of the library, or gives up.
#include "base/plain_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace winnow {
namespace {

// Writes down what it is told, and how far the text was read.
struct Recorder {
  const size_t* consumed;
  std::string events = {};

  bool note(const std::string& event) {
    events += event + " ";
    return true;
  }
  bool with_place(const std::string& event) { return note(event + std::to_string(*consumed)); }

  bool null() { return with_place("null"); }
  bool boolean(bool value) { return note(value ? "true" : "false"); }
  bool number_integer(int64_t value) { return note("int:" + std::to_string(value)); }
  bool number_unsigned(uint64_t value) { return note("unsigned:" + std::to_string(value)); }
  bool number_float(double, const std::string& text) { return note("float:" + text); }
  bool string(std::string& value) { return note("string:" + value); }
  template <typename Binary>
  bool binary(Binary&) {
    return false;
  }
  bool start_object(size_t) { return with_place("{"); }
  bool key(std::string& name) { return note("key:" + name); }
  bool end_object() { return with_place("}"); }
  bool start_array(size_t) { return with_place("["); }
  bool end_array() { return with_place("]"); }
  template <typename Error>
  bool parse_error(size_t, const std::string&, const Error&) {
    return false;
  }
};

// As the reader of headers gives the text to the library.
struct Counting {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char& operator*() const { return *at; }
  Counting& operator++() {
    ++at;
    ++*consumed;
    return *this;
  }
  bool operator==(const Counting& other) const { return at == other.at; }
  bool operator!=(const Counting& other) const { return at != other.at; }

  const char* at;
  size_t* consumed;
};

// Whether the short way went through; then the library must say the same.
bool visit(const std::string& text) {
  size_t consumed = 0, expected_consumed = 0;
  Recorder plain{&consumed}, library{&expected_consumed};
  if (!PlainJson(text, plain, consumed).visit()) return false;
  const Counting first{text.data(), &expected_consumed};
  const Counting last{text.data() + text.size(), &expected_consumed};
  EXPECT_TRUE(nlohmann::json::sax_parse(first, last, &library, nlohmann::json::input_format_t::json,
                                        /*strict=*/false))
      << text;
  EXPECT_EQ(plain.events, library.events) << text;
  return true;
}

TEST(PlainJsonTest, GivesTheEventsOfTheLibrary) {
  for (const char* text :
       {"{}", " {\n}\t", "[]", R"({"a":{"dtype":"F32","shape":[2,0],"data_offsets":[0,18446]}})",
        R"({"__metadata__": null , "b" : [ [ ] , { } ] })", R"("é")", "0", "9999999999999999999",
        R"({"a":1}x)", R"({"":""})"}) {
    EXPECT_TRUE(visit(text)) << text;
  }
}

TEST(PlainJsonTest, LeavesTheRestToTheLibrary) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1",
                           "[1,]",
                           "[,1]",
                           "{,}",
                           R"({"a"})",
                           R"({"a":})",
                           R"({"a":1,})",
                           R"({a:1})",
                           "nul",
                           "true",
                           "-1",
                           "1.5e",
                           "01",
                           "10000000000000000000",
                           R"("a\n")",
                           "\"a\nb\"",
                           "\"a",
                           "[[[[[[[[[]]]]]]]]]",
                           "[1 2]",
                           R"({"a":1 "b":2})"}) {
    EXPECT_FALSE(visit(text)) << text;
  }
}

TEST(PlainJsonTest, AgreesOnRandomTexts) {
  const std::vector<std::string> tokens = {"{",     "}",     "[",  "]",    ",",    ":",
                                           "\"a\"", "\"b\"", "0",  "12",   "null", " ",
                                           "\n",    "1.5",   "-1", "true", "\\",   "\""};
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string text;
    for (size_t count = random() % 9 + 1; count > 0; --count)
      text += tokens[random() % tokens.size()];
    accepted += visit(text);
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace winnow
