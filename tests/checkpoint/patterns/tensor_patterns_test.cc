#include "winnow/checkpoint/tensor_patterns.h"

#include <fnmatch.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

bool matches(const std::string& pattern, std::string_view name) {
  const Result<Pattern> compiled = Pattern::compile(pattern);
  EXPECT_TRUE(compiled.ok()) << pattern << ": " << compiled.status().message();
  return compiled.ok() && compiled->matches(name);
}

std::string rejection(const std::string& pattern) {
  const Status status = Pattern::compile(pattern).status();
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument) << pattern;
  return std::string(status.message());
}

std::vector<TensorInfo> named(std::initializer_list<const char*> names) {
  std::vector<TensorInfo> tensors;
  for (const char* name : names) tensors.push_back({name, DType::kF32, {1}, 0, 4});
  return tensors;
}

TEST(Pattern, GlobMatchesTheWholeName) {
  EXPECT_TRUE(matches("*.weight", "layer.0.weight"));
  EXPECT_FALSE(matches("*.weight", "layer.0.weight_g"));
  EXPECT_FALSE(matches("weight", "layer.weight"));
  EXPECT_TRUE(matches("*", ""));
}

TEST(Pattern, GlobTreatsSlashesDotsAndNulAsOrdinaryCharacters) {
  EXPECT_TRUE(matches("*", std::string_view("a/b\0c", 5)));
  EXPECT_TRUE(matches("a?b", std::string_view("a\0b", 3)));
  EXPECT_TRUE(matches("*x", ".x"));
}

TEST(Pattern, QuestionMarkMatchesOneCodePoint) {
  EXPECT_TRUE(matches("a?c", "a\u00fcc"));
  EXPECT_TRUE(matches("a[\u00e0-\u00ff]c", "a\u00fcc"));
  EXPECT_FALSE(matches("a?c", "a\u00fc\u00fcc"));
}

// fnmatch(3) in the C locale is the definition, but for what is an error in ours and for collating
// symbols, [[.a.]], which are none here.
TEST(Pattern, GlobAgreesWithFnmatchOnRandomPatterns) {
  const std::string alphabet = "ab*?[]!^-\\.";
  std::mt19937 random(7);
  int matched = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string pattern, name;
    for (size_t n = 1 + random() % 7; n > 0; --n) pattern += alphabet[random() % alphabet.size()];
    for (size_t n = random() % 6; n > 0; --n) name += "ab-]!^\\."[random() % 8];
    const Result<Pattern> compiled = Pattern::compile(pattern);
    if (!compiled.ok() || pattern.find("[.") != std::string::npos) continue;
    const bool expected = fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
    matched += expected;
    ASSERT_EQ(compiled->matches(name), expected) << pattern << " on " << name;
  }
  EXPECT_GT(matched, 5'000);
}

TEST(Pattern, GlobKnowsCharacterClasses) {
  EXPECT_TRUE(matches("layer.[[:digit:]].w", "layer.7.w"));
  EXPECT_FALSE(matches("layer.[![:digit:]].w", "layer.7.w"));
  EXPECT_TRUE(matches("[[:alpha:]_]*", "_x"));
  EXPECT_THAT(rejection("[[:nonsense:]]"), HasSubstr("character class"));
}

TEST(Pattern, ManyStarsTakeNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(matches(pattern + "*b", std::string(60'000, 'a')));
}

TEST(Pattern, RegexMatchesTheWholeName) {
  EXPECT_TRUE(matches("re:layer\\.[0-9]+\\.weight", "layer.12.weight"));
  EXPECT_FALSE(matches("re:layer", "layer.12.weight"));
  EXPECT_TRUE(matches("re:.*", std::string_view("a\0b", 3)));
}

TEST(Pattern, RegexSurvivesLongNamesAndNestedRepetition) {
  EXPECT_TRUE(matches("re:.*", std::string(Pattern::kMaxRegexName, 'x')));
  EXPECT_FALSE(matches("re:.*", std::string(Pattern::kMaxRegexName + 1, 'x')));
  EXPECT_FALSE(matches("re:(a*)*b", std::string(2000, 'a')));
  EXPECT_FALSE(matches("re:(a|aa)+b", std::string(2000, 'a')));
}

TEST(Pattern, RejectsWhatIsNoPattern) {
  EXPECT_THAT(rejection(""), HasSubstr("empty"));
  EXPECT_THAT(rejection("abc\\"), HasSubstr("backslash"));
  EXPECT_THAT(rejection("\xff"), HasSubstr("UTF-8"));
  EXPECT_THAT(rejection("re:("), HasSubstr("regular expression"));
  EXPECT_THAT(rejection("re:(a)\\1"), HasSubstr("regular expression"));
  EXPECT_THAT(rejection(std::string(Pattern::kMaxPattern + 1, 'a')), HasSubstr("1025 bytes"));
}

TEST(Pattern, RejectsRegexesThatUnfoldToTooMuch) {
  EXPECT_THAT(rejection("re:(a?){9000}"), HasSubstr("too large"));
  EXPECT_THAT(rejection("re:((a{60}){60}){60}"), HasSubstr("too large"));
  EXPECT_THAT(rejection("re:(a?){1,9000}"), HasSubstr("too large"));
  EXPECT_THAT(rejection("re:a{99999999999999999999}"), HasSubstr("too large"));
  EXPECT_TRUE(matches("re:[a-z]{2,4}[0-9]{3}", "abc123"));
}

TEST(NearestNames, PutsTheMisspeltNameFirst) {
  const auto tensors = named({"pooler.weight", "embeddings.word_embeddings.weight", "ids"});
  const Result<Pattern> glob = Pattern::compile("*word_embeding*");
  EXPECT_THAT(nearest_names(*glob, tensors, 1), ElementsAre("embeddings.word_embeddings.weight"));
  const Result<Pattern> regex = Pattern::compile("re:.*\\.word_embeding.*");
  EXPECT_THAT(nearest_names(*regex, tensors, 1), ElementsAre("embeddings.word_embeddings.weight"));
  const Result<Pattern> plain = Pattern::compile("poler.weight");
  EXPECT_THAT(nearest_names(*plain, tensors, 2), ElementsAre("pooler.weight", "ids"));
}

TEST(NearestNames, LooksAtAliasesToo) {
  const std::vector<TensorInfo> tensors(5000, TensorInfo{"emb.weight", DType::kF32, {}, 0, 4});
  const TensorAlias alias{"lm_head.weight", 0};
  const Result<Pattern> pattern = Pattern::compile("lmhead.weight");
  EXPECT_THAT(nearest_names(*pattern, tensors, 1, {&alias, 1}), ElementsAre("lm_head.weight"));
}

TEST(NearestNames, CopesWithNoNamesAndWithHugeOnes) {
  const Result<Pattern> pattern = Pattern::compile(std::string(1000, 'x'));
  EXPECT_THAT(nearest_names(*pattern, {}, 3), SizeIs(0));
  std::vector<TensorInfo> tensors(5000,
                                  TensorInfo{std::string(60'000, 'y'), DType::kF32, {}, 0, 4});
  EXPECT_THAT(nearest_names(*pattern, tensors, 3), SizeIs(3));
}

}  // namespace
}  // namespace winnow
