// The entry sparsity_config leaves a config.json, and nothing else of it changes.
#include "checkpoint/bitmask/bitmask_config.h"

#include <gtest/gtest.h>

#include "winnow/sparse/error_codes.h"

namespace winnow::checkpoint {
namespace {

TEST(WithoutSparsityConfig, KeepsEveryOtherByte) {
  const std::string before =
      "{ \"a\": [1.50, {\"sparsity_config\": 1}],\n \"quantization_config\": {\n"
      "  \"version\": \"0.9\"";
  const std::string entry =
      ",\n  \"sparsity_config\": {\"format\": \"sparse-bitmask\", \"x\": \"}\\\"{\"}";
  const std::string after = ",\n  \"format\": \"dense\"\n }, \"z\": 12345678901234567890123 }\n";
  EXPECT_EQ(without_sparsity_config(before + entry + after).value(), before + after);
}

TEST(WithoutSparsityConfig, TakesOneCommaWhereverTheEntryIs) {
  const auto without = [](const std::string& entries) {
    return without_sparsity_config(R"({"compression_config":{)" + entries + "}}").value();
  };
  const std::string entry = R"("sparsity_config" : {"format":"sparse-24-bitmask"})";
  EXPECT_EQ(without(entry), R"({"compression_config":{}})");
  EXPECT_EQ(without(entry + R"(, "b":2)"), R"({"compression_config":{"b":2}})");
  EXPECT_EQ(without(R"("a":1, )" + entry), R"({"compression_config":{"a":1}})");
  EXPECT_EQ(without(R"("a":1, )" + entry + R"( ,"b":2)"),
            R"({"compression_config":{"a":1 ,"b":2}})");
}

TEST(WithoutSparsityConfig, ReadsEscapesAndEmptyEntries) {
  EXPECT_EQ(without_sparsity_config(R"({"quantization\u005fconfig":{"sparsity_conf\u0069g":null}})")
                .value(),
            R"({"quantization\u005fconfig":{}})");
  EXPECT_EQ(without_sparsity_config(R"({"quantization_config":{"sparsity_config":{}}})").value(),
            R"({"quantization_config":{}})");
}

TEST(WithoutSparsityConfig, LeavesOtherTextsAsTheyAre) {
  for (const std::string text :
       {R"({})", R"( {"sparsity_config": {"format":"other"}} )", R"({"quantization_config": null})",
        R"({"quantization_config": {"config_groups": {"sparsity_config": 1}}})"}) {
    EXPECT_EQ(without_sparsity_config(text).value(), text);
  }
}

TEST(WithoutSparsityConfig, RefusesWhatItDoesNotUnderstand) {
  using namespace std::string_literals;
  for (const std::string& text :
       {""s, "{"s, "[]"s, "{} x"s, "{}\0"s, "\xEF\xBB\xBF{}"s, "{\"a\": \"\xFF\"}"s,
        R"({"quantization_config":{},"quantization_config":{}})"s,
        R"({"quantization_config":{"sparsity_config":{},"sparsity_config":{}}})"s,
        R"({"quantization_config":{"sparsity_config":{"format":"marlin-24"}}})"s,
        R"({"quantization_config":{"sparsity_config":{"format":1}}})"s}) {
    EXPECT_EQ(without_sparsity_config(text).status().code(), BitmaskError::kSparsityConfig) << text;
  }
}

}  // namespace
}  // namespace winnow::checkpoint
