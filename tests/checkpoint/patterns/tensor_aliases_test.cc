#include "winnow/checkpoint/tensor_aliases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "winnow/checkpoint/prune_plan.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TensorInfo matrix(std::string name, DType dtype = DType::kF32) {
  return {std::move(name), dtype, {8, 8}, 0, 256};
}

// Alias to the tensor that it is stored as.
std::vector<std::pair<std::string, std::string>> aliases_of(const std::vector<TensorInfo>& tensors,
                                                            const Metadata& metadata) {
  std::vector<std::pair<std::string, std::string>> result;
  for (const TensorAlias& alias : tensor_aliases(tensors, metadata)) {
    result.emplace_back(alias.name, tensors[alias.tensor].name);
  }
  return result;
}

TEST(TensorAliases, AreKeysOfNoTensorWithTheNameOfOne) {
  const std::vector<TensorInfo> tensors = {matrix("w"), matrix("emb"), matrix("b")};
  const Metadata metadata = {{"format", "pt"}, {"lm_head", "emb"},   {"winnow.version", "0.1.0"},
                             {"b", "emb"},     {"decoder", "emb"},   {"emb", "emb"},
                             {"gone", "lost"}, {"again", "decoder"}, {"tied", "w"}};
  EXPECT_THAT(aliases_of(tensors, metadata),
              ElementsAre(Pair("lm_head", "emb"), Pair("decoder", "emb"), Pair("tied", "w")));
  EXPECT_THAT(aliases_of(tensors, {}), IsEmpty());
  EXPECT_THAT(aliases_of({}, metadata), IsEmpty());
}

TEST(TensorAliases, OfACycleThereIsNone) {
  EXPECT_THAT(aliases_of({matrix("w")}, {{"a", "b"}, {"b", "a"}}), IsEmpty());
}

TEST(TensorAliases, AHundredThousandAreFoundAndJudged) {
  constexpr size_t kCount = 100'000;
  std::vector<TensorInfo> tensors = {matrix("w"), matrix("x")};
  Metadata metadata;
  for (size_t i = 0; i < kCount; ++i) metadata.emplace_back("alias." + std::to_string(i), "w");
  for (size_t i = 0; i < kCount; ++i) metadata.emplace_back("b" + std::to_string(i), "alias.0");
  const std::vector<TensorAlias> aliases = tensor_aliases(tensors, metadata);
  EXPECT_EQ(aliases.size(), kCount);
  PruneSettings settings;
  settings.include = {"alias.99999"};
  const auto plan = make_plan(tensors, settings, aliases);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ((*plan)[0].skipped, std::nullopt);
  EXPECT_EQ((*plan)[1].skipped, SkipReason(PatternReason::kNotIncluded));
  settings.include = {"b0"};
  EXPECT_EQ(make_plan(tensors, settings, aliases).status().code(), ErrorCode::kUnknownTensor);
}

// A model whose head is tied to its table, and one that is tied to nothing.
class TiedModel : public ::testing::Test {
 protected:
  // Name to reason or level.
  std::map<std::string, std::string> plan(const PruneSettings& settings) const {
    std::map<std::string, std::string> result;
    const auto entries = make_plan(tensors_, settings, tensor_aliases(tensors_, metadata_));
    if (!entries.ok()) return {{"error", std::string(entries.status().message())}};
    for (const PlanEntry& entry : *entries) {
      result[tensors_[entry.tensor].name] =
          entry.skipped ? std::string(skip_reason_text(*entry.skipped))
                        : std::to_string(entry.config.sparsity_level).substr(0, 4);
    }
    return result;
  }

  std::string error(const PruneSettings& settings) const { return plan(settings)["error"]; }

  std::vector<TensorInfo> tensors_ = {matrix("emb.weight"), matrix("fc.weight")};
  Metadata metadata_ = {{"lm_head.weight", "emb.weight"}};
};

TEST_F(TiedModel, ExcludeTakesEitherName) {
  const std::map<std::string, std::string> kept = {{"emb.weight", "excluded"},
                                                   {"fc.weight", "0.50"}};
  EXPECT_EQ(plan({.exclude = {"*lm_head*"}}), kept);
  EXPECT_EQ(plan({.exclude = {"emb*"}}), kept);
  EXPECT_EQ(plan({.exclude = {"re:lm_head\\.weight"}}), kept);
}

TEST_F(TiedModel, IncludeTakesEitherNameAndExcludeBeatsItByTheOther) {
  EXPECT_EQ(
      plan({.include = {"lm_head.weight"}}),
      (std::map<std::string, std::string>{{"emb.weight", "0.50"}, {"fc.weight", "not included"}}));
  EXPECT_EQ(plan({.include = {"emb.weight", "fc*"}, .exclude = {"lm_head*"}})["emb.weight"],
            "excluded");
  EXPECT_EQ(plan({.include = {"lm_head*", "fc*"}, .exclude = {"emb.*"}})["emb.weight"], "excluded");
}

TEST_F(TiedModel, LevelsTakeEitherNameAndTheFirstWins) {
  EXPECT_EQ(plan({.levels = {{"lm_head.weight", 0.25}}})["emb.weight"], "0.25");
  EXPECT_EQ(plan({.levels = {{"lm_head.weight", 0.25}, {"emb.weight", 0.75}}})["emb.weight"],
            "0.25");
}

TEST_F(TiedModel, AnAliasThatTheRuleKnowsKeepsTheTensor) {
  metadata_.emplace_back("attn.attn_mask", "emb.weight");
  EXPECT_EQ(plan({})["emb.weight"], "a mask");
  EXPECT_EQ(plan({.force = {"lm_head.weight"}})["emb.weight"], "0.50");
  EXPECT_EQ(error({.include = {"emb*"}}),
            "include pattern 'emb*' matches only what the default selection leaves alone "
            "('attn.attn_mask', stored as 'emb.weight': a mask)");
}

TEST_F(TiedModel, TheOwnNameIsJudgedFirst) {
  tensors_[0] = matrix("attn.attn_mask");
  metadata_ = {{"rope.freqs", "attn.attn_mask"}};
  EXPECT_EQ(plan({})["attn.attn_mask"], "a mask");
  EXPECT_THAT(error({.include = {"rope*"}}), HasSubstr("alone ('attn.attn_mask': a mask)"));
}

TEST_F(TiedModel, AnAliasStandsBesideOthersAsCodesDo) {
  tensors_ = {matrix("emb.codes", DType::kI8), matrix("lm_head.weight_scale")};
  metadata_ = {};
  EXPECT_EQ(plan({})["lm_head.weight_scale"], "0.50");
  metadata_ = {{"lm_head.weight", "emb.codes"}};
  EXPECT_EQ(plan({})["lm_head.weight_scale"], "belongs to the quantized tensor beside it");
}

TEST_F(TiedModel, AnAliasThatIsADirectionGuardsRows) {
  const std::vector<TensorInfo> tensors = {matrix("emb.weight"),
                                           {"head.weight_g", DType::kF32, {8, 1}, 256, 288}};
  const auto guard = [&](const Metadata& metadata) {
    return make_plan(tensors, {}, tensor_aliases(tensors, metadata)).value()[0].guard;
  };
  EXPECT_EQ(guard({}), std::nullopt);
  EXPECT_EQ(guard({{"other", "emb.weight"}, {"head.weight_v", "emb.weight"}}),
            (SliceShape{1, 8, 8}));
}

TEST_F(TiedModel, APatternThatMatchesNothingNamesAliasesAmongTheNearest) {
  for (const PruneSettings& settings :
       {PruneSettings{.include = {"lm_haed.weight"}}, PruneSettings{.exclude = {"lm_haed.weight"}},
        PruneSettings{.force = {"lm_haed.weight"}},
        PruneSettings{.levels = {{"lm_haed.weight", 0.5}}}}) {
    EXPECT_THAT(error(settings),
                HasSubstr("among 2 tensors and 1 alias, found none; nearest: 'lm_head.weight', '"));
  }
  metadata_ = {{"blocks[0].w", "emb.weight"}, {"blocks[1].w", "emb.weight"}};
  EXPECT_EQ(error({.include = {"blocks[0].w"}}),
            "include pattern 'blocks[0].w': expected a match among 2 tensors and 2 aliases, found "
            "none; '[0]' is a pattern; escape it: 'blocks\\[0\\].w'");
}

TEST_F(TiedModel, AnAliasOfNoTensorIsAnError) {
  const TensorAlias beyond{"lm_head.weight", 2};
  const Status status = make_plan(tensors_, {}, {&beyond, 1}).status();
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "alias 'lm_head.weight': expected one of 2 tensors, found index 2");
}

}  // namespace
}  // namespace winnow
