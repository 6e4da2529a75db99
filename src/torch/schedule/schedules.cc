#include "winnow/torch/schedules.h"

#include <c10/util/Exception.h>

#include "torch/support/errors.h"

namespace winnow {
using namespace internal;

namespace {

bool is_number(const c10::IValue& value) { return value.isInt() || value.isDouble(); }

/// `number` in the type of `base`.
c10::IValue as_type_of(const c10::IValue& base, double number, const std::string& name) {
  const std::string field = "the scheduled value of '" + name + "'";
  // zeros_per_block, for example, has to stay an integer.
  if (base.isInt()) return value_of(scheduled_integer(field, number));
  check_ok(check_finite(field, number));
  return number;
}

/// Options of schedules repeat these fields: designated initialisers cannot reach those of a base.
template <typename Options>
DataSchedulerOptions base_options(const Options& options) {
  return {options.schedule_param, options.last_epoch, options.verbose};
}

template <typename Options>
ScheduleSteps steps_of(const Options& options) {
  return {options.begin_step, options.end_step};
}

StairSchedule stair_of(const StepDataSchedulerOptions& options) {
  return {options.gamma, options.step_size, steps_of(options)};
}

RampSchedule ramp_of(const CubicDataSchedulerOptions& options) {
  return {options.initial_value, options.power, steps_of(options)};
}

const LambdaDataSchedulerOptions& checked(const LambdaDataSchedulerOptions& options) {
  // Here and not at the first epoch: std::function would throw bad_function_call.
  TORCH_CHECK_VALUE(options.factor != nullptr,
                    "factor: expected a function of the epoch, found none");
  check_ok(validate(steps_of(options)));
  return options;
}

const StepDataSchedulerOptions& checked(const StepDataSchedulerOptions& options) {
  check_ok(validate(stair_of(options)));
  return options;
}

const CubicDataSchedulerOptions& checked(const CubicDataSchedulerOptions& options) {
  check_ok(validate(ramp_of(options)));
  // An unset one means the base, which is no option.
  check_ok(check_finite("final_value", options.final_value.value_or(0)));
  for (const auto& entry : options.final_values) {
    check_ok(check_finite("final_values['" + entry.name + "']",
                          options.final_values.get<double>(entry.name)));
  }
  return options;
}

/// Sets `value` if `fields` has one of that name.
template <typename T>
void take(const NamedValues& fields, const std::string& name, T& value) {
  // States of torch.ao may lack a field.
  if (fields.contains(name)) value = fields.get<T>(name);
}

template <typename Options>
Options with_steps(Options options, const NamedValues& fields) {
  take(fields, "begin_step", options.begin_step);
  take(fields, "end_step", options.end_step);
  return options;
}

c10::IValue dict_of(const NamedValues& numbers) {
  // Always doubles, although the user may have given integers.
  c10::Dict<std::string, double> dict;
  for (const auto& entry : numbers) dict.insert(entry.name, numbers.get<double>(entry.name));
  return dict;
}

NamedValues numbers_of(const c10::IValue& dict) {
  NamedValues numbers;
  for (const auto& item : dict.toGenericDict()) {
    numbers.set(item.key().toStringRef(), item.value());
  }
  return numbers;
}

}  // namespace

FormulaDataScheduler::FormulaDataScheduler(BaseDataSparsifier& sparsifier,
                                           const DataSchedulerOptions& options)
    : BaseDataScheduler(sparsifier, options) {
  for (const auto& item : base_param()) {
    // None means that the data have no such value.
    TORCH_CHECK_TYPE(is_number(item.value()), schedule_param(), " of '", item.key(),
                     "': expected a number, found ", to_text(item.value()));
  }
}

ScheduleValues FormulaDataScheduler::get_schedule_param() {
  ScheduleValues values("data");
  for (const auto& item : base_param()) {
    const c10::IValue& base = item.value();
    // A state that was loaded may hold any base, since loading does not check it.
    if (!is_number(base) || !sparsifier().contains(item.key())) continue;
    const double number = base.isInt() ? static_cast<double>(base.toInt()) : base.toDouble();
    values.insert(item.key(),
                  as_type_of(base, value_at(last_epoch(), item.key(), number), item.key()));
  }
  return values;
}

LambdaDataScheduler::LambdaDataScheduler(BaseDataSparsifier& sparsifier,
                                         const LambdaDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  start();
}

std::optional<int64_t> LambdaDataScheduler::final_epoch() const {
  return winnow::final_epoch(steps_of(options_));
}

double LambdaDataScheduler::value_at(int64_t epoch, const std::string&, double base) const {
  return base * options_.factor(clamped_epoch(steps_of(options_), epoch));
}

NamedValues LambdaDataScheduler::fields() const {
  return {{"begin_step", options_.begin_step}, {"end_step", options_.end_step}};
}

void LambdaDataScheduler::set_fields(const NamedValues& fields) {
  // Checked before it is assigned, so a bad state changes nothing.
  options_ = checked(with_steps(options_, fields));
}

StepDataScheduler::StepDataScheduler(BaseDataSparsifier& sparsifier,
                                     const StepDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  start();
}

std::optional<int64_t> StepDataScheduler::final_epoch() const {
  return winnow::final_epoch(steps_of(options_), options_.step_size);
}

double StepDataScheduler::value_at(int64_t epoch, const std::string&, double base) const {
  return stair_value(stair_of(options_), base, epoch);
}

NamedValues StepDataScheduler::fields() const {
  return {{"gamma", options_.gamma},
          {"step_size", options_.step_size},
          {"begin_step", options_.begin_step},
          {"end_step", options_.end_step}};
}

void StepDataScheduler::set_fields(const NamedValues& fields) {
  StepDataSchedulerOptions options = with_steps(options_, fields);
  take(fields, "gamma", options.gamma);
  take(fields, "step_size", options.step_size);
  options_ = checked(options);
}

CubicDataScheduler::CubicDataScheduler(BaseDataSparsifier& sparsifier,
                                       const CubicDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  // Probably a misspelt name, which would silently follow the base.
  for (const auto& entry : options.final_values) {
    TORCH_CHECK_VALUE(sparsifier.contains(entry.name), "final_values names the data '", entry.name,
                      "', which the sparsifier does not have");
  }
  start();
}

std::optional<int64_t> CubicDataScheduler::final_epoch() const {
  return winnow::final_epoch(steps_of(options_));
}

double CubicDataScheduler::value_at(int64_t epoch, const std::string& name, double base) const {
  const NamedValues& named = options_.final_values;
  // The most specific of three: of the name, of all, of the data's configuration.
  const double last =
      named.contains(name) ? named.get<double>(name) : options_.final_value.value_or(base);
  return ramp_value(ramp_of(options_), last, epoch);
}

NamedValues CubicDataScheduler::fields() const {
  const auto& last = options_.final_value;
  return {{"initial_value", options_.initial_value},
          {"final_value", last ? c10::IValue(*last) : c10::IValue()},
          {"final_values", dict_of(options_.final_values)},
          {"begin_step", options_.begin_step},
          {"end_step", options_.end_step},
          {"power", options_.power}};
}

void CubicDataScheduler::set_fields(const NamedValues& fields) {
  CubicDataSchedulerOptions options = with_steps(options_, fields);
  take(fields, "initial_value", options.initial_value);
  take(fields, "power", options.power);
  if (const c10::IValue* last = fields.find("final_value")) {
    // None was saved for an unset value, and is not the same as a missing one.
    options.final_value.reset();
    if (!last->isNone()) options.final_value = fields.get<double>("final_value");
  }
  if (const c10::IValue* last = fields.find("final_values")) {
    options.final_values = numbers_of(*last);
  }
  options_ = checked(options);
}

LinearDataScheduler::LinearDataScheduler(BaseDataSparsifier& sparsifier,
                                         const LinearDataSchedulerOptions& options)
    : CubicDataScheduler(sparsifier, [&] {
        // The power is overwritten before the base checks it.
        LinearDataSchedulerOptions straight = options;
        straight.power = 1;
        return straight;
      }()) {}

}  // namespace winnow
