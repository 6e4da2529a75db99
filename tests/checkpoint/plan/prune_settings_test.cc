#include "winnow/checkpoint/prune_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace winnow {
namespace {

using ::testing::HasSubstr;

const std::string kDefaults =
    R"({"block":[1,4],"exclude":[],"force":[],"include":[],"level":0.5,"levels":[],"nan":"error",)"
    R"("nm":null,"norm":"l1","rule":1,"scope":"tensor","zeros_per_block":"all"})";

// The defaults' text with `from` replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = kDefaults;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

PruneSettings everything() {
  return {.config = {.sparsity_level = 0.1,
                     .sparse_block_shape = {2, 8},
                     .zeros_per_block = 5,
                     .norm = Norm::kL2},
          .scope = Scope::kTensor,
          .include = {"a*", "re:\\d\"\n"},
          .exclude = {"\u00fc"},
          .force = {"b", "c*"},
          .levels = {{"x=y", 1.0}, {"b", 0.30000000000000004}},
          .nan = NanPolicy::kKeep};
}

TEST(ConfigText, SpellsOutEveryDefault) { EXPECT_EQ(config_text(PruneSettings()), kDefaults); }

TEST(ConfigText, ComesBackUnchanged) {
  const Result<PruneSettings> back = parse_config_text(config_text(everything()));
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->config.sparsity_level, 0.1);
  EXPECT_EQ(back->config.sparse_block_shape, (BlockShape{2, 8}));
  EXPECT_EQ(back->config.zeros_per_block, 5);
  EXPECT_EQ(back->config.norm, Norm::kL2);
  EXPECT_EQ(back->include, everything().include);
  EXPECT_EQ(back->exclude, everything().exclude);
  EXPECT_EQ(back->force, everything().force);
  EXPECT_EQ(back->levels, everything().levels);
  EXPECT_EQ(back->nan, NanPolicy::kKeep);
  EXPECT_EQ(config_text(*back), config_text(everything()));

  PruneSettings global;
  global.scope = Scope::kGlobal;
  EXPECT_EQ(parse_config_text(config_text(global))->scope, Scope::kGlobal);
}

TEST(ConfigText, IsEqualForEqualWork) {
  PruneSettings settings;
  settings.config.zeros_per_block = 4;  // all of 1 x 4
  EXPECT_EQ(config_text(settings), kDefaults);
  PruneSettings a, b;
  a.include = {"x", "a", "x"};
  b.include = {"a", "x"};
  EXPECT_EQ(config_text(a), config_text(b));
  a.force = {"x", "a", "x"};
  b.force = {"a", "x"};
  EXPECT_EQ(config_text(a), config_text(b));
  a = b = PruneSettings();
  a.config.sparsity_level = -0.0;
  b.config.sparsity_level = 0.0;
  EXPECT_EQ(config_text(a), config_text(b));
}

TEST(ConfigText, KeepsTheOrderOfLevelRules) {
  PruneSettings a, b;
  a.levels = {{"x", 0.1}, {"*", 0.2}};
  b.levels = {{"*", 0.2}, {"x", 0.1}};
  EXPECT_NE(config_text(a), config_text(b));
}

TEST(ConfigText, NamesAnNmPattern) {
  PruneSettings settings;
  settings.config = nm_config(2, 4);
  EXPECT_EQ(nm_text(settings), "2:4");
  EXPECT_THAT(config_text(settings), HasSubstr(R"("nm":"2:4")"));
  EXPECT_EQ(parse_config_text(config_text(settings))->config.zeros_per_block, 2);
  settings.scope = Scope::kGlobal;
  EXPECT_EQ(nm_text(settings), std::nullopt);
}

TEST(ParseConfigText, RejectsWhatIsNotCanonical) {
  const std::string bad[] = {
      "",
      "null",
      "[]",
      "{",
      "{}",
      kDefaults + " ",
      kDefaults + std::string(1, '\0'),
      "\xef\xbb\xbf" + kDefaults,
      changed(":0.5", ": 0.5"),
      changed(":0.5", ":0.50"),
      changed(":0.5", ":5e-1"),
      changed(":0.5", ":\"0.5\""),
      changed(":0.5", ":1e400"),
      changed(":0.5", ":NaN"),
      changed(":0.5", ":1.5"),
      changed(":0.5", ":-0.5"),
      changed(":0.5", ":1"),
      changed("\"level\":0.5", "\"level\":0.5,\"level\":0.5"),
      changed("\"nm\":null", "\"nm\":\"2:4\""),
      changed("\"nm\":null,", ""),
      changed("[1,4]", "[0,4]"),
      changed("[1,4]", "[1,-4]"),
      changed("[1,4]", "[1,4.5]"),
      changed("[1,4]", "[1]"),
      changed("[1,4]", "[1,99999999999999999999]"),
      changed("\"all\"", "5"),
      changed("\"all\"", "4"),
      changed("\"all\"", "null"),
      changed("\"l1\"", "\"L1\""),
      changed("\"tensor\"", "7"),
      changed("\"include\":[]", "\"include\":[7]"),
      changed("\"include\":[]", "\"include\":[\"b\",\"a\"]"),
      changed("\"include\":[]", "\"include\":{}"),
      changed("\"force\":[]", "\"force\":7"),
      changed("\"force\":[]", "\"force\":[\"b\",\"a\"]"),
      changed("\"force\":[],", ""),
      changed("\"rule\":1,", ""),
      changed("\"rule\":1", "\"rule\":null"),
      changed("\"rule\":1", "\"rule\":\"1\""),
      changed("\"rule\":1", "\"rule\":-1"),
      changed("\"rule\":1", "\"rule\":1.0"),
      changed("\"levels\":[]", "\"levels\":[[\"a\"]]"),
      changed("\"levels\":[]", "\"levels\":[[\"a\",2.0]]"),
      changed("\"levels\":[]", "\"levels\":[[\"a\",\"b\"]]"),
      changed("}", ",\"zzz\":1}"),
      changed("\"levels\":[]",
              "\"levels\":" + std::string(100'000, '[') + std::string(100'000, ']')),
      std::string(2'000'000, ' '),
  };
  for (const std::string& text : bad) {
    EXPECT_EQ(parse_config_text(text).status().code(), ErrorCode::kBadSettings)
        << text.substr(0, 300);
  }
  EXPECT_TRUE(parse_config_text(kDefaults).ok());
}

TEST(ParseConfigText, RefusesAnotherRuleByItsNumber) {
  const Status status = parse_config_text(changed("\"rule\":1", "\"rule\":2")).status();
  EXPECT_EQ(status.code(), ErrorCode::kOtherRule);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("expected rule 1 of the default selection, found rule 2"));
}

TEST(ParseConfigText, RefusesTheTextOfAnOlderWinnow) {
  const char* old =
      R"({"block":[1,4],"exclude":[],"include":[],"level":0.5,"levels":[],"nan":"error",)"
      R"("nm":null,"norm":"l1","scope":"tensor","zeros_per_block":"all"})";
  const Status status = parse_config_text(old).status();
  EXPECT_EQ(status.code(), ErrorCode::kOtherRule);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found none: an older winnow recorded it"));
}

TEST(ParseConfigText, NamesTheFieldAtFault) {
  EXPECT_THAT(std::string(parse_config_text(changed("[1,4]", "7")).status().message()),
              HasSubstr("'block'"));
}

TEST(ValidateSettings, RefusesLevelsOutsideTheirRange) {
  for (const double level : {-0.001, 1.001, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    PruneSettings settings;
    settings.config.sparsity_level = level;
    EXPECT_EQ(validate(settings).code(), ErrorCode::kInvalidArgument) << level;
    settings = PruneSettings();
    settings.levels = {{"x", level}};
    EXPECT_EQ(validate(settings).code(), ErrorCode::kInvalidArgument) << level;
  }
}

TEST(ValidateSettings, RefusesLevelRulesWithAGlobalScope) {
  PruneSettings settings;
  settings.scope = Scope::kGlobal;
  EXPECT_TRUE(validate(settings).ok());
  settings.levels = {{"x", 0.5}};
  EXPECT_EQ(validate(settings).code(), ErrorCode::kInvalidArgument);
}

TEST(ValidateSettings, RefusesAConfigWithoutMeaning) {
  PruneSettings settings;
  settings.config.zeros_per_block = 5;
  EXPECT_EQ(validate(settings).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
