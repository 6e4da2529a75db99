#include "winnow/checkpoint/prune_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(MakePlan, FollowsTheOrderOfTheData) {
  const auto tensors = model();
  std::vector<std::string> names;
  for (const PlanEntry& entry : plan_of({})) names.push_back(tensors[entry.tensor].name);
  EXPECT_THAT(names, ElementsAre("emb.weight", "none", "bias", "ids", "half", "scalar"));
}

TEST(MakePlan, PrunesFloatingPointTensorsOfTwoDimensionsByDefault) {
  EXPECT_EQ(reasons({}),
            (std::map<std::string, std::string>{{"bias", "fewer than 2 dimensions"},
                                                {"emb.weight", ""},
                                                {"half", ""},
                                                {"ids", "dtype cannot be pruned"},
                                                {"none", "no elements"},
                                                {"scalar", "fewer than 2 dimensions"}}));
}

TEST(MakePlan, FoldsShapesIntoMatrices) {
  for (const PlanEntry& entry : plan_of({})) {
    if (model()[entry.tensor].name != "half") continue;
    EXPECT_EQ(entry.shape, (MatrixShape{6, 4}));
  }
}

TEST(MakePlan, IncludeSelectsAnyRankButNoOtherDtype) {
  EXPECT_EQ(reasons(including({"bias", "scalar", "ids"})),
            (std::map<std::string, std::string>{{"bias", ""},
                                                {"emb.weight", "not included"},
                                                {"half", "not included"},
                                                {"ids", "dtype cannot be pruned"},
                                                {"none", "not included"},
                                                {"scalar", ""}}));
}

TEST(MakePlan, ExcludeBeatsInclude) {
  PruneSettings settings = including({"*"});
  settings.exclude = {"emb*"};
  EXPECT_EQ(reasons(settings)["emb.weight"], "excluded");
  EXPECT_EQ(reasons(settings)["bias"], "");
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
  by_exclude.exclude = {"embb.weight"};
  by_level.levels = {{"embb.weight", 0.5}};
  for (const PruneSettings& settings : {by_include, by_exclude, by_level}) {
    const Status status = make_plan(tensors, settings).status();
    EXPECT_EQ(status.code(), ErrorCode::kUnknownTensor);
    EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: 'emb.weight'"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("'embb.weight'"));
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

}  // namespace
}  // namespace winnow
