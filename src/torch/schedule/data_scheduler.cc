#include "winnow/torch/data_scheduler.h"

#include <c10/util/Exception.h>
#include <c10/util/ScopeExit.h>

#include <ostream>
#include <utility>

#include "torch/sparsifier/data_sparsifier_impl.h"
#include "torch/support/class_name.h"
#include "torch/support/errors.h"
#include "torch/support/plain_values.h"
#include "winnow/core/schedule.h"

namespace winnow {
using namespace internal;

namespace {

/// Returns the value `param` of every name; None if it has none.
ScheduleValues values_of(const BaseDataSparsifier& sparsifier, const std::string& param) {
  ScheduleValues values("data");
  for (const std::string& name : sparsifier.names()) {
    const c10::IValue* value = sparsifier.data_group(name).find(param);
    values.insert(name, value == nullptr ? c10::IValue() : *value);
  }
  return values;
}

/// Lists in a state must not be those of a running schedule.
ScheduleValues copy_of(const ScheduleValues& values) {
  ScheduleValues copy("data");
  for (const auto& item : values) copy.insert(item.key(), item.value().deepcopy());
  return copy;
}

}  // namespace

BaseDataScheduler::BaseDataScheduler(BaseDataSparsifier& sparsifier,
                                     const DataSchedulerOptions& options)
    : sparsifier_(&sparsifier),
      sparsifier_alive_(sparsifier.impl_),
      schedule_param_(options.schedule_param),
      verbose_(options.verbose),
      base_param_(values_of(sparsifier, schedule_param_)),
      last_param_(base_param_),
      last_epoch_(options.last_epoch),
      sparsifier_steps_at_start_(sparsifier.step_count()) {
  check_ok(check_last_epoch(last_epoch_));
}

BaseDataScheduler::~BaseDataScheduler() = default;

// Held by reference, as in upstream; the weak pointer only tells whether it is gone.
BaseDataSparsifier& BaseDataScheduler::sparsifier() const {
  TORCH_CHECK(!sparsifier_alive_.expired(), "the sparsifier of this ", class_name(typeid(*this)),
              " was destroyed; a scheduler must not outlive its sparsifier");
  return *sparsifier_;
}

void BaseDataScheduler::start() {
  TORCH_CHECK(step_count_ == 0, class_name(typeid(*this)),
              " was started before: start() is called "
              "once, by the constructor of the concrete class");
  warn_of_base();
  advance();
}

void BaseDataScheduler::warn_of_base() {
  // Recorded in the sparsifier, which outlives its schedulers.
  const bool first = sparsifier().impl_->scheduled.insert(schedule_param_).second;
  if (first || last_epoch_ != -1 || !uses_base()) return;
  TORCH_WARN("another scheduler has driven '", schedule_param_,
             "' of this sparsifier: the new one takes the values that it finds as its base, ",
             to_text(dict_of(base_param_)),
             ". Set those that it should have before (set_config), or give a final_value; to go on "
             "with the other schedule, load its state_dict");
}

void BaseDataScheduler::step() {
  // Counted from the start of this schedule: the sparsifier may be older.
  const int64_t sparsifier_steps = sparsifier().step_count() - sparsifier_steps_at_start_;
  TORCH_CHECK(step_count_ > 0, class_name(typeid(*this)),
              " was not started: the last line of its "
              "constructor must be start();");
  // Once, at the first step after start: later it would only repeat itself.
  if (step_count_ == 1 && sparsifier_steps < 1) {
    TORCH_WARN(
        "Detected call of `scheduler.step()` before `data_sparsifier.step()`. Call the "
        "sparsifier first: otherwise the first value of the schedule is skipped.");
  }
  advance();
}

void BaseDataScheduler::advance() {
  BaseDataSparsifier& target = sparsifier();
  // The epoch has come, even if its values are refused below.
  ++step_count_;
  ++last_epoch_;
  const ScheduleValues values = scheduled_values();
  for (const auto& item : values) target.set_config(item.key(), schedule_param_, item.value());
  // Read back, because names that were left out keep their values.
  last_param_ = values_of(target, schedule_param_);
  // As upstream: a new level is of no use while masks are kept.
  target.set_enable_mask_update(true);
  // Last, since the user's function may throw.
  if (!verbose_) return;
  for (const auto& item : values) {
    verbose_(c10::str("Adjusting ", schedule_param_, " for group ", item.key(), " to ",
                      to_text(item.value())));
  }
}

ScheduleValues BaseDataScheduler::scheduled_values() {
  called_within_step_ = true;
  const auto end = c10::make_scope_exit([this] { called_within_step_ = false; });
  ScheduleValues values = get_schedule_param();
  for (const auto& item : values) {
    TORCH_CHECK_VALUE(sparsifier_->contains(item.key()), class_name(typeid(*this)),
                      " schedules the data '", item.key(), "', which the sparsifier does not have");
    // As set_config will check it: no value is set until all of them are known to be valid.
    sparsifier_->impl_->check_value(schedule_param_, item.value());
    sparsifier_->impl_->check_set(item.key(), schedule_param_, item.value(),
                                  sparsifier_->data_group(item.key()));
  }
  return values;
}

DataSchedulerState BaseDataScheduler::state_dict() const {
  return {schedule_param_, copy_of(base_param_), last_epoch_,
          step_count_,     copy_of(last_param_), fields().deep_copy()};
}

void BaseDataScheduler::load_state_dict(const DataSchedulerState& state) {
  // Copied first: if a copy or set_fields throws, nothing has changed.
  ScheduleValues base_param = copy_of(state.base_param);
  ScheduleValues last_param = copy_of(state.last_param);
  set_fields(state.fields);
  schedule_param_ = state.schedule_param;
  base_param_ = std::move(base_param);
  last_param_ = std::move(last_param);
  last_epoch_ = state.last_epoch;
  step_count_ = state.step_count;
}

std::string BaseDataScheduler::text() const {
  // The line breaks and spaces are upstream's.
  return class_name(typeid(*this)) + " (\nData Sparsifier " + sparsifier().text() + "\n    " +
         schedule_param_ + ": " + to_text(dict_of(base_param_)) + "\n)";
}

std::ostream& operator<<(std::ostream& stream, const BaseDataScheduler& scheduler) {
  return stream << scheduler.text();
}

}  // namespace winnow
