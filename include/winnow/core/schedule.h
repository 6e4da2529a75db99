// The value of a schedule at an epoch. Pure functions: the schedulers of C++ and of Python call
// these, so that equal settings give equal bits in both.
//
// Epochs are numbered from 0. A schedule moves between begin_step and end_step: before begin_step
// it has the value of begin_step, from end_step on that of end_step. All functions are thread-safe
// and allocate nothing unless they return an error.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow {

/// As an end_step: never.
inline constexpr int64_t kNoEnd = std::numeric_limits<int64_t>::max();

/// The epochs in which a schedule moves; both ends belong to it.
struct ScheduleSteps {
  int64_t begin_step = 0;     ///< at least 0
  int64_t end_step = kNoEnd;  ///< at least begin_step
};

/// A stair: base * gamma ^ floor((t - begin_step) / step_size), t being the clamped epoch.
struct StairSchedule {
  double gamma = 0.1;     ///< finite, at least 0
  int64_t step_size = 1;  ///< epochs on each stair, at least 1
  ScheduleSteps steps = {};
};

/// A ramp: final + (initial - final) * share ^ power, where share is the part of the way that is
/// still ahead, 1 - (t - begin_step) / (end_step - begin_step). Exactly `initial` up to begin_step
/// and exactly `final` from end_step on; if both are the same step, the final value wins there.
struct RampSchedule {
  double initial_value = 0;  ///< finite
  double power = 3;          ///< finite and above 0; 1 is a straight line
  ScheduleSteps steps = {.begin_step = 0, .end_step = 100};
};

/// `epoch`, kept within [begin_step, end_step].
int64_t clamped_epoch(const ScheduleSteps& steps, int64_t epoch) noexcept;

/// The value of what started at `base`.
double stair_value(const StairSchedule& stair, double base, int64_t epoch) noexcept;

/// The value of what ends at `final_value`.
double ramp_value(const RampSchedule& ramp, double final_value, int64_t epoch) noexcept;

/// The epoch from which on the values stay as they are; none if there is no end.
/// @param step_size  of a stair; 1 for others
std::optional<int64_t> final_epoch(const ScheduleSteps& steps, int64_t step_size = 1) noexcept;

/// A scheduled value for an integer: the nearest one, halves away from 0. kInvalidArgument, naming
/// `field`, for what is not finite or does not fit into 64 bits.
Result<int64_t> scheduled_integer(std::string_view field, double value);

/// Ok, or kInvalidArgument naming the field, its range and what was found. The steps are checked
/// with what has them.
Status validate(const ScheduleSteps& steps);
Status validate(const StairSchedule& stair);
Status validate(const RampSchedule& ramp);

/// kInvalidArgument, naming `field`, for NaN and infinity.
Status check_finite(std::string_view field, double value);

/// kInvalidArgument unless it is at least -1, which stands for none.
Status check_last_epoch(int64_t last_epoch);

}  // namespace winnow
