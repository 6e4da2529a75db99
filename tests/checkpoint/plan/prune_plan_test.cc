#include "winnow/checkpoint/prune_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TensorInfo tensor(std::string name, DType dtype, std::vector<uint64_t> shape, uint64_t begin,
                  uint64_t end) {
  return {std::move(name), dtype, std::move(shape), begin, end};
}

// In an order that is not that of the data.
std::vector<TensorInfo> model() {
  return {
      tensor("bias", DType::kF32, {4}, 64, 80),
      tensor("emb.weight", DType::kF32, {2, 8}, 0, 64),
      tensor("ids", DType::kI64, {2, 2}, 80, 112),
      tensor("half", DType::kBF16, {2, 3, 4}, 112, 160),
      tensor("none", DType::kF32, {0, 4}, 64, 64),
      tensor("scalar", DType::kF64, {}, 160, 168),
  };
}

std::vector<PlanEntry> plan_of(const PruneSettings& settings) {
  const auto tensors = model();
  Result<std::vector<PlanEntry>> plan = make_plan(tensors, settings);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? *plan : std::vector<PlanEntry>();
}

// Name to reason; empty for what is pruned.
std::map<std::string, std::string> reasons(const PruneSettings& settings) {
  const auto tensors = model();
  std::map<std::string, std::string> result;
  for (const PlanEntry& entry : plan_of(settings)) {
    result[tensors[entry.tensor].name] = entry.skipped ? skip_reason_text(*entry.skipped) : "";
  }
  return result;
}

std::map<std::string, double> levels(const PruneSettings& settings) {
  const auto tensors = model();
  std::map<std::string, double> result;
  for (const PlanEntry& entry : plan_of(settings)) {
    if (!entry.skipped) result[tensors[entry.tensor].name] = entry.config.sparsity_level;
  }
  return result;
}

PruneSettings including(std::vector<std::string> patterns) {
  PruneSettings settings;
  settings.include = std::move(patterns);
  return settings;
}

PruneSettings forcing(std::vector<std::string> patterns) {
  PruneSettings settings;
  settings.force = std::move(patterns);
  return settings;
}

TEST(MakePlan, FollowsTheOrderOfTheData) {
  const auto tensors = model();
  std::vector<std::string> names;
  for (const PlanEntry& entry : plan_of({})) names.push_back(tensors[entry.tensor].name);
  EXPECT_THAT(names, ElementsAre("emb.weight", "none", "bias", "ids", "half", "scalar"));
}

TEST(MakePlan, PrunesFloatingPointTensorsOfTwoDimensionsByDefault) {
  EXPECT_EQ(reasons({}), (std::map<std::string, std::string>{
                             {"bias", "fewer than 2 dimensions larger than 1"},
                             {"emb.weight", ""},
                             {"half", ""},
                             {"ids", "dtype cannot be pruned"},
                             {"none", "no elements"},
                             {"scalar", "fewer than 2 dimensions larger than 1"}}));
}

TEST(MakePlan, FoldsShapesIntoMatrices) {
  for (const PlanEntry& entry : plan_of({})) {
    if (model()[entry.tensor].name != "half") continue;
    EXPECT_EQ(entry.shape, (MatrixShape{6, 4}));
  }
}

TEST(MakePlan, IncludeNarrowsWithinTheDefaultSelection) {
  EXPECT_EQ(reasons(including({"[be]*", "ids"})),
            (std::map<std::string, std::string>{{"bias", "fewer than 2 dimensions larger than 1"},
                                                {"emb.weight", ""},
                                                {"half", "not included"},
                                                {"ids", "dtype cannot be pruned"},
                                                {"none", "not included"},
                                                {"scalar", "not included"}}));
}

TEST(MakePlan, ForceSelectsAnyRankButNoOtherDtype) {
  EXPECT_EQ(reasons(forcing({"bias", "scalar", "ids", "none"})),
            (std::map<std::string, std::string>{{"bias", ""},
                                                {"emb.weight", ""},
                                                {"half", ""},
                                                {"ids", "dtype cannot be pruned"},
                                                {"none", "no elements"},
                                                {"scalar", ""}}));
}

TEST(MakePlan, WhatIsForcedIsIncluded) {
  PruneSettings settings = forcing({"bias"});
  settings.include = {"emb*"};
  EXPECT_EQ(reasons(settings)["bias"], "");
  EXPECT_EQ(reasons(settings)["emb.weight"], "");
  EXPECT_EQ(reasons(settings)["half"], "not included");
}

TEST(MakePlan, ExcludeBeatsIncludeAndForce) {
  PruneSettings settings = including({"*"});
  settings.exclude = {"emb*", "scalar"};
  settings.force = {"bias", "scalar"};
  EXPECT_EQ(reasons(settings)["emb.weight"], "excluded");
  EXPECT_EQ(reasons(settings)["scalar"], "excluded");
  EXPECT_EQ(reasons(settings)["bias"], "");
}

TEST(MakePlan, APatternThatTheRuleLeavesEmptyHandedIsAnError) {
  const auto tensors = model();
  const Status status = make_plan(tensors, including({"emb*", "[bis]*s"})).status();
  EXPECT_EQ(status.code(), ErrorCode::kLeftAlone);
  EXPECT_EQ(status.message(),
            "include pattern '[bis]*s' matches only what the default selection leaves alone "
            "('bias': fewer than 2 dimensions larger than 1)");
  PruneSettings level;
  level.levels = {{"*", 0.5}, {"bias", 0.25}};
  EXPECT_EQ(make_plan(tensors, level).status().code(), ErrorCode::kLeftAlone);
  EXPECT_THAT(std::string(make_plan(tensors, level).status().message()),
              HasSubstr("level pattern 'bias' matches only what"));
  level.force = {"bias"};
  EXPECT_TRUE(make_plan(tensors, level).ok());
  // Not where force takes one in, nor where nothing could.
  PruneSettings forced = including({"bias"});
  forced.force = {"bi*"};
  EXPECT_TRUE(make_plan(tensors, forced).ok());
  EXPECT_TRUE(make_plan(tensors, including({"ids", "none"})).ok());
}

TEST(MakePlan, GuardsRowsOfDirectionsUnlessForced) {
  const std::vector<TensorInfo> tensors = {tensor("weight_g", DType::kF32, {4, 1, 1}, 0, 16),
                                           tensor("weight_v", DType::kF32, {4, 2, 3}, 16, 112),
                                           tensor("w", DType::kF32, {4, 2}, 112, 144)};
  const std::vector<PlanEntry> plan = make_plan(tensors, {}).value();
  EXPECT_EQ(plan[0].skipped, SkipReason(LeftAlone::kMagnitude));
  EXPECT_EQ(plan[1].skipped, std::nullopt);
  EXPECT_EQ(plan[1].guard, (SliceShape{1, 4, 6}));
  EXPECT_EQ(plan[2].guard, std::nullopt);
  const std::vector<PlanEntry> forced = make_plan(tensors, forcing({"weight_*"})).value();
  EXPECT_EQ(forced[0].skipped, std::nullopt);
  EXPECT_EQ(forced[1].guard, std::nullopt);
}

TEST(MakePlan, NamesReasonsForProgramsToo) {
  EXPECT_EQ(skip_reason_code(PatternReason::kExcluded), "excluded");
  EXPECT_EQ(skip_reason_code(PatternReason::kNotIncluded), "not_included");
  EXPECT_EQ(skip_reason_code(LeftAlone::kMask), "mask");
  EXPECT_TRUE(is_left_alone(LeftAlone::kMask));
  EXPECT_FALSE(is_left_alone(LeftAlone::kDType));
  EXPECT_FALSE(is_left_alone(LeftAlone::kEmpty));
  EXPECT_FALSE(is_left_alone(PatternReason::kExcluded));
  EXPECT_FALSE(is_left_alone(std::nullopt));
}

TEST(MakePlan, TheFirstLevelRuleThatMatchesWins) {
  PruneSettings settings;
  settings.levels = {{"emb*", 0.25}, {"*", 0.75}, {"half", 0.125}};
  EXPECT_EQ(levels(settings),
            (std::map<std::string, double>{{"emb.weight", 0.25}, {"half", 0.75}}));
  settings.levels = {{"emb*", 0.25}};
  EXPECT_EQ(levels(settings), (std::map<std::string, double>{{"emb.weight", 0.25}, {"half", 0.5}}));
}

TEST(MakePlan, APatternThatMatchesNothingNamesTheNearest) {
  const auto tensors = model();
  PruneSettings by_include = including({"*", "embb.weight"}), by_exclude, by_level;
  const PruneSettings by_force = forcing({"embb.weight"});
  by_exclude.exclude = {"embb.weight"};
  by_level.levels = {{"embb.weight", 0.5}};
  for (const PruneSettings& settings : {by_include, by_exclude, by_force, by_level}) {
    const Status status = make_plan(tensors, settings).status();
    EXPECT_EQ(status.code(), ErrorCode::kUnknownTensor);
    EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: 'emb.weight'"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("'embb.weight'"));
  }
}

// What a glob says of a name with brackets that was meant as it stands.
std::string bracket_message(const std::string& pattern) {
  const std::vector<TensorInfo> tensors = {tensor("blocks[0].w", DType::kF32, {2, 2}, 0, 16),
                                           tensor("blocks[1].w", DType::kF32, {2, 2}, 16, 32)};
  return std::string(make_plan(tensors, including({pattern})).status().message());
}

TEST(MakePlan, SaysHowToEscapeTheBracketsOfAName) {
  EXPECT_EQ(bracket_message("blocks[0].w"),
            "include pattern 'blocks[0].w': expected a match among 2 tensors, found none; "
            "'[0]' is a pattern; escape it: 'blocks\\[0\\].w'");
  EXPECT_THAT(bracket_message("blocks[1].*"), HasSubstr("escape it: 'blocks\\[1\\].*'"));
  EXPECT_EQ(bracket_message("blocks\\[0\\].w"), "");
  EXPECT_EQ(bracket_message("re:blocks\\[0\\].w"), "");
  for (const char* other : {"blocks[2].w", "blokcs[0].w", "re:blocks[0].w", "blocks0.w"}) {
    EXPECT_THAT(bracket_message(other), HasSubstr("nearest: 'blocks[")) << other;
  }
}

TEST(MakePlan, RefusesBadPatternsAndBadSettings) {
  const auto tensors = model();
  EXPECT_EQ(make_plan(tensors, including({"re:("})).status().code(), ErrorCode::kInvalidArgument);
  PruneSettings settings;
  settings.config.sparsity_level = 2;
  EXPECT_EQ(make_plan(tensors, settings).status().code(), ErrorCode::kInvalidArgument);
}

TEST(MakePlan, EscapesNamesInMessages) {
  const std::vector<TensorInfo> tensors = {tensor("a\nb\x1b[31m", DType::kF32, {1, 1}, 0, 4)};
  const Status status = make_plan(tensors, including({"zz"})).status();
  EXPECT_EQ(std::string(status.message()).find_first_of("\n\x1b"), std::string::npos);
}

// Settings come out of files too: as many patterns as they may hold, each asked of each tensor
// once.
TEST(MakePlan, TakesNoCubeOfPatternsAndTensors) {
  std::vector<TensorInfo> tensors;
  PruneSettings settings;
  for (int i = 0; i < 300; ++i) {
    tensors.push_back(tensor("b" + std::to_string(i), DType::kF32, {8}, 0, 32));
    settings.include.push_back("b" + std::string(i % 7, '*') + "*");
    settings.force.push_back("z" + std::string(i % 7, '*') + "*");
  }
  tensors.push_back(tensor("z", DType::kF32, {8, 8}, 0, 256));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(make_plan(tensors, settings).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

}  // namespace
}  // namespace winnow
