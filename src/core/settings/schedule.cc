#include "winnow/core/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"
#include "core/settings/setting_error.h"

namespace winnow {
namespace {

// The part of the way that is still ahead, from 1 down to 0. Epochs are compared before they are
// divided, so a ramp without length is a jump and the ends are exact.
double remaining_share(const ScheduleSteps& steps, int64_t epoch) noexcept {
  if (epoch >= steps.end_step) return 0;
  if (epoch <= steps.begin_step) return 1;
  return 1 - static_cast<double>(epoch - steps.begin_step) /
                 static_cast<double>(steps.end_step - steps.begin_step);
}

}  // namespace

int64_t clamped_epoch(const ScheduleSteps& steps, int64_t epoch) noexcept {
  return std::clamp(epoch, steps.begin_step, steps.end_step);
}

double stair_value(const StairSchedule& stair, double base, int64_t epoch) noexcept {
  const int64_t stairs =
      (clamped_epoch(stair.steps, epoch) - stair.steps.begin_step) / stair.step_size;
  return base * std::pow(stair.gamma, static_cast<double>(stairs));
}

// Not std::lerp, whose formula each standard library chooses for itself: this one can be written
// down in any language, and Python's floats give the same bits.
double ramp_value(const RampSchedule& ramp, double final_value, int64_t epoch) noexcept {
  const double share = std::pow(remaining_share(ramp.steps, epoch), ramp.power);
  if (share == 1) return ramp.initial_value;  // which final + (initial - final) may miss by a bit
  if (share == 0) return final_value;         // their difference may be infinite
  return final_value + (ramp.initial_value - final_value) * share;
}

std::optional<int64_t> final_epoch(const ScheduleSteps& steps, int64_t step_size) noexcept {
  if (steps.end_step == kNoEnd) return std::nullopt;
  return steps.end_step - (steps.end_step - steps.begin_step) % step_size;
}

Result<int64_t> scheduled_integer(std::string_view field, double value) {
  WINNOW_RETURN_IF_ERROR(check_finite(field, value));
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  WINNOW_RETURN_IF_ERROR(
      check_setting(std::fabs(value) < kLimit, field, "an integer of 64 bits", value));
  return std::llround(value);
}

Status validate(const ScheduleSteps& steps) {
  WINNOW_RETURN_IF_ERROR(
      check_setting(steps.begin_step >= 0, "begin_step", "at least 0", steps.begin_step));
  return check_setting(steps.end_step >= steps.begin_step, "end_step",
                       "at least begin_step = " + std::to_string(steps.begin_step), steps.end_step);
}

Status validate(const StairSchedule& stair) {
  WINNOW_RETURN_IF_ERROR(check_setting(std::isfinite(stair.gamma) && stair.gamma >= 0, "gamma",
                                       "a finite number of at least 0", stair.gamma));
  WINNOW_RETURN_IF_ERROR(
      check_setting(stair.step_size >= 1, "step_size", "at least 1", stair.step_size));
  return validate(stair.steps);
}

Status validate(const RampSchedule& ramp) {
  WINNOW_RETURN_IF_ERROR(check_finite("initial_value", ramp.initial_value));
  WINNOW_RETURN_IF_ERROR(check_setting(std::isfinite(ramp.power) && ramp.power > 0, "power",
                                       "a finite number above 0", ramp.power));
  return validate(ramp.steps);
}

Status check_finite(std::string_view field, double value) {
  return check_setting(std::isfinite(value), field, "a finite number", value);
}

Status check_last_epoch(int64_t last_epoch) {
  return check_setting(last_epoch >= -1, "last_epoch", "at least -1, which is none", last_epoch);
}

}  // namespace winnow
