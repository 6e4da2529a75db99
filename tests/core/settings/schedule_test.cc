#include "winnow/core/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "winnow/core/data_norm.h"

namespace winnow {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RampSchedule line(double initial, int64_t begin, int64_t end) {
  return {.initial_value = initial, .power = 1, .steps = {begin, end}};
}

TEST(RampValue, OfAStraightLineIsTheFormulaToTheLastBit) {
  const RampSchedule ramp = line(0, 0, 10);
  const double level = ramp_value(ramp, 0.9, 7);
  EXPECT_EQ(level, 0.9 + (0 - 0.9) * (1 - 7 / 10.0));
  EXPECT_EQ(level, 0x1.428f5c28f5c28p-1);  // 0.63 but for the last bit, as Python's floats have it
  EXPECT_EQ(blocks_to_drop(level, 50), 31u);
}

TEST(RampValue, IsTheFormulaForManySettings) {
  for (const double initial : {0.0, 0.1, -0.25, 1.0, 7.5}) {
    for (const double last : {0.9, 0.8, 1.0 / 3, 0.0, 4.0}) {
      for (const double power : {1.0, 2.0, 3.0, 0.5, 2.75}) {
        for (const int64_t end : {3, 7, 10, 100}) {
          const RampSchedule ramp{.initial_value = initial, .power = power, .steps = {2, end}};
          for (int64_t t = 3; t < end; ++t) {
            const double share = std::pow(1 - (t - 2) / static_cast<double>(end - 2), power);
            EXPECT_EQ(ramp_value(ramp, last, t), last + (initial - last) * share);
          }
          for (const int64_t t : {int64_t{-1}, int64_t{0}, int64_t{2}}) {
            EXPECT_EQ(ramp_value(ramp, last, t), initial);
          }
          EXPECT_EQ(ramp_value(ramp, last, end), last);
          EXPECT_EQ(ramp_value(ramp, last, kNoEnd), last);
        }
      }
    }
  }
}

TEST(RampValue, IsExactAtItsEndsWhateverTheValues) {
  const RampSchedule ramp = line(0.1, 0, 4);
  ASSERT_NE(1e16 + (0.1 - 1e16), 0.1);
  EXPECT_EQ(ramp_value(ramp, 1e16, 0), 0.1);
  EXPECT_EQ(ramp_value(line(1e308, 0, 4), -1e308, 4), -1e308);
}

TEST(RampValue, WithoutLengthIsAJump) {
  const RampSchedule ramp = line(0.2, 2, 2);
  EXPECT_EQ(ramp_value(ramp, 0.8, 1), 0.2);
  EXPECT_EQ(ramp_value(ramp, 0.8, 2), 0.8);
}

TEST(StairValue, FallsOnceEveryStepSizeEpochsBetweenItsEnds) {
  const StairSchedule stair{.gamma = 0.5, .step_size = 2, .steps = {1, 5}};
  std::vector<double> values;
  for (int64_t t = 0; t < 8; ++t) values.push_back(stair_value(stair, 0.8, t));
  EXPECT_EQ(values, (std::vector<double>{0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2}));
  EXPECT_EQ(stair_value({.gamma = 0.1}, 0.7, 3), 0.7 * std::pow(0.1, 3.0));
  EXPECT_EQ(stair_value({.gamma = 0}, 0.7, 0), 0.7);
}

TEST(ClampedEpoch, StaysWithinTheSteps) {
  EXPECT_EQ(clamped_epoch({2, 3}, 0), 2);
  EXPECT_EQ(clamped_epoch({2, 3}, 3), 3);
  EXPECT_EQ(clamped_epoch({2, 3}, 9), 3);
  EXPECT_EQ(clamped_epoch({}, kNoEnd), kNoEnd);
}

TEST(FinalEpoch, IsWhereTheLastStairBegins) {
  EXPECT_EQ(final_epoch({0, 7}), 7);
  EXPECT_EQ(final_epoch({0, 15}, 10), 10);
  EXPECT_EQ(final_epoch({3, 15}, 10), 13);
  EXPECT_EQ(final_epoch({}), std::nullopt);
}

TEST(ScheduledInteger, RoundsHalvesAwayFromZero) {
  const auto rounded = [](double value) { return *scheduled_integer("x", value); };
  EXPECT_EQ(rounded(2.5), 3);
  EXPECT_EQ(rounded(-2.5), -3);
  EXPECT_EQ(rounded(2.4), 2);
  EXPECT_EQ(rounded(0x1.fffffffffffffp-2), 0);  // the last double below a half
}

TEST(ScheduledInteger, NamesWhatFitsIntoNoInteger) {
  const auto refusal = [](double value) {
    return std::string(scheduled_integer("value", value).status().message());
  };
  EXPECT_EQ(refusal(kNan), "value: expected a finite number, found nan");
  EXPECT_EQ(refusal(1e300), "value: expected an integer of 64 bits, found 1e+300");
  EXPECT_EQ(refusal(-9223372036854775808.0).substr(0, 6), "value:");
}

TEST(ValidateSchedule, NamesTheFieldItsRangeAndWhatWasFound) {
  const auto message = [](const auto& schedule) {
    return std::string(validate(schedule).message());
  };
  EXPECT_EQ(message(StairSchedule{}), "");
  EXPECT_EQ(message(RampSchedule{}), "");
  EXPECT_EQ(message(StairSchedule{.gamma = -0.5}),
            "gamma: expected a finite number of at least 0, found -0.5");
  EXPECT_EQ(message(StairSchedule{.gamma = kNan}),
            "gamma: expected a finite number of at least 0, found nan");
  EXPECT_EQ(message(StairSchedule{.step_size = 0}), "step_size: expected at least 1, found 0");
  EXPECT_EQ(message(RampSchedule{.initial_value = kNan}),
            "initial_value: expected a finite number, found nan");
  EXPECT_EQ(message(RampSchedule{.power = 0}), "power: expected a finite number above 0, found 0");
  EXPECT_EQ(message(ScheduleSteps{-1, 2}), "begin_step: expected at least 0, found -1");
  EXPECT_EQ(message(RampSchedule{.steps = {3, 2}}),
            "end_step: expected at least begin_step = 3, found 2");
  EXPECT_EQ(message(StairSchedule{.steps = {3, 2}}),
            "end_step: expected at least begin_step = 3, found 2");
  EXPECT_EQ(check_last_epoch(-2).message(),
            "last_epoch: expected at least -1, which is none, found -2");
  EXPECT_TRUE(check_last_epoch(-1).ok());
}

}  // namespace
}  // namespace winnow
