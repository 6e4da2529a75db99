#include "winnow/torch/schedules.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"

namespace winnow {
namespace {

using testing::CapturedWarnings;
using ::testing::HasSubstr;
using testing::message_of;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class TwoData : public DataNormSparsifier {
 public:
  TwoData() : DataNormSparsifier({.sparsity_level = 0.8}) {
    add_data("x", torch::ones({4, 4}));
    add_data("y", torch::ones({4, 4}), {.config = {{"sparsity_level", 0.6}}});
  }
};

/// The value of `name` at epoch 0, 1, ... count - 1.
std::vector<double> levels(const BaseDataSparsifier& sparsifier, BaseDataScheduler& scheduler,
                           const std::string& name, size_t count) {
  std::vector<double> out;
  for (;;) {
    out.push_back(sparsifier.data_group(name).get<double>(scheduler.schedule_param()));
    if (out.size() == count) return out;
    scheduler.step();
  }
}

auto near(std::vector<double> values) {
  return ::testing::Pointwise(::testing::DoubleNear(1e-15), std::move(values));
}

class Schedules : public ::testing::Test {
 protected:
  Schedules() { sparsifier.step(); }

  template <typename Scheduler, typename Options>
  std::string refusal(const Options& options) {
    return message_of<c10::ValueError>([&] { Scheduler scheduler(sparsifier, options); });
  }

  CapturedWarnings warnings;  // the order of steps is none of these tests' business
  TwoData sparsifier;
};

TEST_F(Schedules, LambdaMultipliesTheBase) {
  LambdaDataScheduler scheduler(
      sparsifier, {.factor = [](int64_t epoch) { return 1.0 / static_cast<double>(1 + epoch); }});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 4), near({0.8, 0.4, 0.8 / 3, 0.2}));
  EXPECT_EQ(sparsifier.data_group("y").get<double>("sparsity_level"), 0.6 * 0.25);
}

TEST_F(Schedules, LambdaSeesEpochsFromBeginToEndOnly) {
  std::vector<int64_t> epochs;
  LambdaDataScheduler scheduler(sparsifier, {.factor =
                                                 [&](int64_t epoch) {
                                                   epochs.push_back(epoch);
                                                   return 1.0;
                                                 },
                                             .begin_step = 2,
                                             .end_step = 3});
  for (int i = 0; i < 4; ++i) scheduler.step();
  EXPECT_THAT(epochs, ::testing::ElementsAre(2, 2, 2, 2, 2, 2, 3, 3, 3, 3));  // of two data
}

TEST_F(Schedules, StepFallsEveryStepSizeEpochs) {
  StepDataScheduler scheduler(sparsifier, {.gamma = 0.5, .step_size = 2});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 6), near({0.8, 0.8, 0.4, 0.4, 0.2, 0.2}));
}

TEST_F(Schedules, StepCountsFromBeginAndStopsAtEnd) {
  StepDataScheduler scheduler(sparsifier,
                              {.gamma = 2, .step_size = 1, .begin_step = 2, .end_step = 4});
  EXPECT_THAT(levels(sparsifier, scheduler, "y", 7), near({0.6, 0.6, 0.6, 1.2, 2.4, 2.4, 2.4}));
}

TEST_F(Schedules, LinearGoesFromZeroToTheBase) {
  LinearDataScheduler scheduler(sparsifier, {.begin_step = 1, .end_step = 5});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 8), near({0, 0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8}));
  EXPECT_EQ(sparsifier.data_group("y").get<double>("sparsity_level"), 0.6);
}

TEST_F(Schedules, CubicIsTheFormulaOfZhuAndGupta) {
  constexpr double kFirst = 0.1;
  constexpr double kLast = 0.9;
  CubicDataScheduler scheduler(
      sparsifier, {.initial_value = kFirst, .final_value = kLast, .begin_step = 2, .end_step = 10});
  const std::vector<double> got = levels(sparsifier, scheduler, "x", 13);
  for (int t = 0; t < 13; ++t) {
    const double way = (t - 2) / 8.0;
    const double want = kLast + (kFirst - kLast) * std::pow(1 - way, 3.0);
    EXPECT_EQ(got[t], t <= 2 ? kFirst : t >= 10 ? kLast : want) << t;
  }
}

// std::lerp gives 0.63 here, which drops one block of 50 more.
TEST_F(Schedules, LinearIsTheFormulaToTheLastBit) {
  LinearDataScheduler scheduler(sparsifier, {.final_value = 0.9, .end_step = 10});
  EXPECT_EQ(levels(sparsifier, scheduler, "x", 8).back(), 0.9 + (0 - 0.9) * (1 - 7 / 10.0));
}

TEST_F(Schedules, LinearIsCubicWithAPowerOfOne) {
  const LinearDataScheduler linear(sparsifier, {.end_step = 4, .power = 2});
  EXPECT_EQ(linear.state_dict().fields.get<double>("power"), 1);
}

TEST_F(Schedules, ThePowerIsThatOfTheDecay) {
  CubicDataScheduler scheduler(sparsifier, {.final_value = 1, .end_step = 2, .power = 2});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 3), near({0, 0.75, 1}));
}

TEST_F(Schedules, FinalValuesAreForOneOrForAll) {
  LinearDataScheduler scheduler(sparsifier,
                                {.final_value = 0.5, .final_values = {{"y", 1}}, .end_step = 2});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 3), near({0, 0.25, 0.5}));
  EXPECT_EQ(sparsifier.data_group("y").get<double>("sparsity_level"), 1);
}

TEST_F(Schedules, ARampWithoutLengthIsAJump) {
  CubicDataScheduler scheduler(sparsifier, {.begin_step = 2, .end_step = 2});
  EXPECT_THAT(levels(sparsifier, scheduler, "x", 4), near({0, 0, 0.8, 0.8}));
}

TEST_F(Schedules, IntegersStayIntegers) {
  LinearDataScheduler scheduler(sparsifier, {.schedule_param = "zeros_per_block", .end_step = 8});
  std::vector<int64_t> got;
  for (int epoch = 0; epoch < 9; ++epoch) {
    got.push_back(sparsifier.data_group("x").get<int64_t>("zeros_per_block"));
    sparsifier.step();
    scheduler.step();
  }
  EXPECT_THAT(got, ::testing::ElementsAre(0, 1, 1, 2, 2, 3, 3, 4, 4));
}

TEST_F(Schedules, ValuesOfAnyNameCanBeScheduled) {
  sparsifier.set_config("x", "temperature", 4.0);
  sparsifier.set_config("y", "temperature", int64_t{4});
  StepDataScheduler scheduler(sparsifier, {.schedule_param = "temperature", .gamma = 0.4});
  scheduler.step();
  EXPECT_EQ(sparsifier.data_group("x").get<double>("temperature"), 1.6);
  EXPECT_EQ(sparsifier.data_group("y").get<int64_t>("temperature"), 2);
}

TEST_F(Schedules, WhatIsNoNumberIsRefusedByName) {
  const auto refusal = [&](const std::string& param) {
    return message_of<c10::TypeError>(
        [&] { StepDataScheduler scheduler(sparsifier, {.schedule_param = param}); });
  };
  EXPECT_THAT(refusal("no_such"), HasSubstr("no_such of 'x': expected a number"));
  EXPECT_THAT(refusal("sparse_block_shape"), HasSubstr("found (1, 4)"));
  sparsifier.set_config("x", "flag", 1.0);
  sparsifier.set_config("y", "flag", true);
  EXPECT_THAT(refusal("flag"), HasSubstr("flag of 'y': expected a number, found"));
}

TEST_F(Schedules, OptionsOutOfRangeAreRefusedByTheirField) {
  const auto step = [&](const StepDataSchedulerOptions& options) {
    return refusal<StepDataScheduler>(options);
  };
  EXPECT_THAT(step({.gamma = -0.5}),
              HasSubstr("gamma: expected a finite number of at least 0, found -0.5"));
  EXPECT_THAT(step({.gamma = kNan}), HasSubstr("gamma"));
  EXPECT_THAT(step({.step_size = 0}), HasSubstr("step_size"));
  EXPECT_THAT(step({.begin_step = -1}), HasSubstr("begin_step"));
  EXPECT_THAT(step({.begin_step = 3, .end_step = 2}), HasSubstr("end_step"));
  const auto cubic = [&](const CubicDataSchedulerOptions& options) {
    return refusal<CubicDataScheduler>(options);
  };
  EXPECT_THAT(cubic({.initial_value = kNan}), HasSubstr("initial_value"));
  EXPECT_THAT(cubic({.final_value = kNan}), HasSubstr("final_value"));
  EXPECT_THAT(cubic({.final_values = {{"x", kNan}}}), HasSubstr("final_values['x']"));
  EXPECT_THAT(cubic({.final_values = {{"z", 0.5}}}), HasSubstr("'z'"));
  EXPECT_THAT(cubic({.begin_step = 101}), HasSubstr("end_step"));
  EXPECT_THAT(cubic({.power = 0}), HasSubstr("power"));
  EXPECT_THAT(cubic({.last_epoch = -2}),
              HasSubstr("last_epoch: expected at least -1, which is none, found -2"));
  EXPECT_THAT(refusal<LinearDataScheduler>(LinearDataSchedulerOptions{.final_values = {{"z", 1}}}),
              HasSubstr("'z'"));
  EXPECT_THAT(refusal<LinearDataScheduler>(LinearDataSchedulerOptions{.end_step = -1}),
              HasSubstr("end_step"));
  EXPECT_THAT(refusal<LambdaDataScheduler>(LambdaDataSchedulerOptions{}), HasSubstr("factor"));
  EXPECT_EQ(sparsifier.data_group("x").get<double>("sparsity_level"), 0.8);
}

TEST_F(Schedules, ValuesThatAreNoNumbersAnyMoreAreErrors) {
  const auto huge = [](int64_t epoch) { return epoch == 0 ? 1.0 : 1e300; };
  LambdaDataScheduler levels(sparsifier,
                             {.factor = [](int64_t epoch) { return epoch == 0 ? 1.0 : kNan; }});
  EXPECT_THAT(message_of<c10::ValueError>([&] { levels.step(); }),
              HasSubstr("'x': expected a finite number, found nan"));
  LambdaDataScheduler zeros(sparsifier, {.schedule_param = "zeros_per_block", .factor = huge});
  EXPECT_THAT(message_of<c10::ValueError>([&] { zeros.step(); }), HasSubstr("64 bits"));
  EXPECT_EQ(sparsifier.data_group("x").get<int64_t>("zeros_per_block"), 4);
}

TEST_F(Schedules, WarnOfABaseThatAnotherScheduleLeft) {
  const auto warnings_of = [&](const CubicDataSchedulerOptions& options) {
    DataNormSparsifier driven({.sparsity_level = 0.9});
    driven.add_data("x", torch::ones({4, 4}));
    const CubicDataScheduler first(driven, {.end_step = 5});
    testing::CapturedWarnings warnings;
    const CubicDataScheduler second(driven, options);
    return warnings.messages();
  };
  const auto messages = warnings_of({.end_step = 5});
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0], HasSubstr("another scheduler has driven 'sparsity_level'"));
  EXPECT_THAT(messages[0], HasSubstr("'x': 0.0"));
  EXPECT_THAT(warnings_of({.final_value = 0.9, .end_step = 5}), ::testing::IsEmpty());
  EXPECT_THAT(warnings_of({.schedule_param = "zeros_per_block", .end_step = 5}),
              ::testing::IsEmpty());
  EXPECT_THAT(warnings_of({.end_step = 5, .last_epoch = 2}), ::testing::IsEmpty());
}

TEST_F(Schedules, KnowTheirLastEpoch) {
  EXPECT_EQ(CubicDataScheduler(sparsifier, {.end_step = 7}).final_epoch(), 7);
  EXPECT_EQ(LinearDataScheduler(sparsifier, {.end_step = 8}).final_epoch(), 8);
  EXPECT_EQ(StepDataScheduler(sparsifier, {}).final_epoch(), std::nullopt);
  EXPECT_EQ(StepDataScheduler(sparsifier, {.step_size = 10, .end_step = 15}).final_epoch(), 10);
}

TEST_F(Schedules, DataAddedLaterAreLeftAlone) {
  StepDataScheduler scheduler(sparsifier, {.gamma = 0.5});
  sparsifier.add_data("late", torch::ones({4, 4}));
  scheduler.step();
  EXPECT_EQ(sparsifier.data_group("late").get<double>("sparsity_level"), 0.8);
  EXPECT_EQ(sparsifier.data_group("x").get<double>("sparsity_level"), 0.4);
}

TEST_F(Schedules, NamesThatAreGoneAreSkipped) {
  StepDataScheduler scheduler(sparsifier, {.gamma = 0.5});
  DataNormSparsifier other;
  other.add_data("y", torch::ones({4, 4}));
  sparsifier.load_state_dict(other.state_dict());
  scheduler.step();
  EXPECT_EQ(sparsifier.data_group("y").get<double>("sparsity_level"), 0.3);
}

/// Steps of `scheduler` after it took over the state of one that was interrupted.
template <typename Scheduler, typename Options>
void expect_resumes(const Options& options, const Options& others) {
  TwoData whole;
  Scheduler uninterrupted(whole, options);
  const std::vector<double> want = levels(whole, uninterrupted, "y", 8);

  TwoData first;
  Scheduler interrupted(first, options);
  std::vector<double> got = levels(first, interrupted, "y", 4);
  TwoData second;
  Scheduler resumed(second, others);
  second.load_state_dict(first.state_dict());
  resumed.load_state_dict(interrupted.state_dict());
  for (const double level : levels(second, resumed, "y", 5)) got.push_back(level);
  got.erase(got.begin() + 4);  // the epoch at which it was interrupted stands twice
  EXPECT_EQ(got, want);
}

TEST(SchedulesState, RoundTripsWithTheOptionsThatItWasMadeWith) {
  const CapturedWarnings warnings;
  const auto factor = [](int64_t epoch) { return 1.0 / static_cast<double>(1 + epoch); };
  expect_resumes<LambdaDataScheduler, LambdaDataSchedulerOptions>(
      {.factor = factor, .begin_step = 1, .end_step = 6}, {.factor = factor});
  expect_resumes<StepDataScheduler, StepDataSchedulerOptions>(
      {.gamma = 0.5, .step_size = 2, .begin_step = 1, .end_step = 6}, {});
  expect_resumes<LinearDataScheduler, LinearDataSchedulerOptions>(
      {.initial_value = 0.1, .final_value = 0.7, .begin_step = 1, .end_step = 6}, {});
  expect_resumes<CubicDataScheduler, CubicDataSchedulerOptions>(
      {.final_values = {{"y", 0.7}}, .end_step = 6, .power = 2}, {.final_value = 0.3});
}

TEST_F(Schedules, ABadStateChangesNothing) {
  StepDataScheduler scheduler(sparsifier, {.gamma = 0.5});
  DataSchedulerState state = scheduler.state_dict();
  state.last_epoch = 7;
  state.fields.set("gamma", -1.0);
  EXPECT_THROW(scheduler.load_state_dict(state), c10::ValueError);
  state.fields.set("gamma", "half");
  EXPECT_THROW(scheduler.load_state_dict(state), c10::TypeError);
  EXPECT_EQ(scheduler.last_epoch(), 0);
  EXPECT_EQ(scheduler.state_dict().fields.get<double>("gamma"), 0.5);
}

}  // namespace
}  // namespace winnow
