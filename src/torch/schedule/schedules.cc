#include "winnow/torch/schedules.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace winnow {
namespace {

bool is_number(const c10::IValue& value) { return value.isInt() || value.isDouble(); }

/// `number` in the type of `base`.
c10::IValue as_type_of(const c10::IValue& base, double number, const std::string& name) {
  TORCH_CHECK_VALUE(std::isfinite(number), "the schedule gives ", number, " for '", name, "'");
  if (!base.isInt()) return number;
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  TORCH_CHECK_VALUE(std::fabs(number) < kLimit, "the schedule gives ", number, " for '", name,
                    "', which is an integer of 64 bits");
  return static_cast<int64_t>(std::llround(number));
}

void check_steps(int64_t begin_step, int64_t end_step) {
  TORCH_CHECK_VALUE(begin_step >= 0, "begin_step must be at least 0, got ", begin_step);
  TORCH_CHECK_VALUE(end_step >= begin_step, "end_step must be at least begin_step = ", begin_step,
                    ", got ", end_step);
}

template <typename Options>
DataSchedulerOptions base_options(const Options& options) {
  return {options.schedule_param, options.last_epoch, options.verbose};
}

/// The fields that all formulas have; `from` keeps those that are not in `fields`.
template <typename Options>
Options with_steps(Options from, const NamedValues& fields) {
  if (fields.contains("begin_step")) from.begin_step = fields.get<int64_t>("begin_step");
  if (fields.contains("end_step")) from.end_step = fields.get<int64_t>("end_step");
  return from;
}

const LambdaDataSchedulerOptions& checked(const LambdaDataSchedulerOptions& options) {
  TORCH_CHECK_VALUE(options.lambda != nullptr, "lambda must be set");
  check_steps(options.begin_step, options.end_step);
  return options;
}

const StepDataSchedulerOptions& checked(const StepDataSchedulerOptions& options) {
  TORCH_CHECK_VALUE(std::isfinite(options.gamma) && options.gamma >= 0,
                    "gamma must be finite and at least 0, got ", options.gamma);
  TORCH_CHECK_VALUE(options.step_size >= 1, "step_size must be at least 1, got ",
                    options.step_size);
  check_steps(options.begin_step, options.end_step);
  return options;
}

void check_finite(const std::string& field, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value), field, " must be finite, got ", value);
}

/// Of a linear or a cubic schedule.
template <typename Options>
void check_ramp(const Options& options) {
  check_finite("initial_value", options.initial_value);
  check_finite("final_value", options.final_value.value_or(0));
  for (const auto& entry : options.final_values) {
    check_finite("final_values['" + entry.name + "']",
                 options.final_values.template get<double>(entry.name));
  }
  check_steps(options.begin_step, options.end_step);
}

const LinearDataSchedulerOptions& checked(const LinearDataSchedulerOptions& options) {
  check_ramp(options);
  return options;
}

const CubicDataSchedulerOptions& checked(const CubicDataSchedulerOptions& options) {
  check_ramp(options);
  TORCH_CHECK_VALUE(std::isfinite(options.power) && options.power > 0,
                    "power must be finite and above 0, got ", options.power);
  return options;
}

void check_names(const NamedValues& final_values, const BaseDataSparsifier& sparsifier) {
  for (const auto& entry : final_values) {
    TORCH_CHECK_VALUE(sparsifier.contains(entry.name), "final_values names the data '", entry.name,
                      "', which the sparsifier does not have");
  }
}

/// The share of the way that is still ahead, from 1 down to 0.
double remaining_share(int64_t epoch, int64_t begin_step, int64_t end_step) {
  if (epoch >= end_step) return 0;
  if (epoch <= begin_step) return 1;
  return 1 - static_cast<double>(epoch - begin_step) / static_cast<double>(end_step - begin_step);
}

std::optional<int64_t> end_of(int64_t end_step) {
  return end_step == kNoEnd ? std::nullopt : std::optional(end_step);
}

c10::IValue dict_of(const NamedValues& numbers) {
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

/// The value at `epoch` of what has the value `base` by itself.
template <typename Options>
double ramp_at(const Options& options, double power, int64_t epoch, const std::string& name,
               double base) {
  const double last = options.final_values.contains(name)
                          ? options.final_values.template get<double>(name)
                          : options.final_value.value_or(base);
  const double share = remaining_share(epoch, options.begin_step, options.end_step);
  return std::lerp(last, options.initial_value, std::pow(share, power));
}

template <typename Options>
NamedValues ramp_fields(const Options& options) {
  const auto& last = options.final_value;
  return {{"initial_value", options.initial_value},
          {"final_value", last ? c10::IValue(*last) : c10::IValue()},
          {"final_values", dict_of(options.final_values)},
          {"begin_step", options.begin_step},
          {"end_step", options.end_step}};
}

template <typename Options>
Options with_ramp(const Options& from, const NamedValues& fields) {
  Options options = with_steps(from, fields);
  if (fields.contains("initial_value")) options.initial_value = fields.get<double>("initial_value");
  if (const c10::IValue* last = fields.find("final_value")) {
    options.final_value.reset();
    if (!last->isNone()) options.final_value = fields.get<double>("final_value");
  }
  if (const c10::IValue* last = fields.find("final_values")) {
    options.final_values = numbers_of(*last);
  }
  return options;
}

}  // namespace

FormulaDataScheduler::FormulaDataScheduler(BaseDataSparsifier& sparsifier,
                                           const DataSchedulerOptions& options)
    : BaseDataScheduler(sparsifier, options) {
  for (const auto& item : base_param()) {
    TORCH_CHECK_TYPE(is_number(item.value()), "'", schedule_param(), "' of '", item.key(),
                     "' must be a number to be scheduled, got ", to_text(item.value()));
  }
}

ScheduleValues FormulaDataScheduler::get_schedule_param() {
  ScheduleValues values("data");
  for (const auto& item : base_param()) {
    const c10::IValue& base = item.value();
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
  return end_of(options_.end_step);
}

double LambdaDataScheduler::value_at(int64_t epoch, const std::string&, double base) const {
  return base * options_.lambda(std::clamp(epoch, options_.begin_step, options_.end_step));
}

NamedValues LambdaDataScheduler::fields() const {
  return {{"begin_step", options_.begin_step}, {"end_step", options_.end_step}};
}

void LambdaDataScheduler::set_fields(const NamedValues& fields) {
  options_ = checked(with_steps(options_, fields));
}

StepDataScheduler::StepDataScheduler(BaseDataSparsifier& sparsifier,
                                     const StepDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  start();
}

std::optional<int64_t> StepDataScheduler::final_epoch() const {
  const auto end = end_of(options_.end_step);
  if (!end) return end;
  return *end - (*end - options_.begin_step) % options_.step_size;  // where the last stair begins
}

double StepDataScheduler::value_at(int64_t epoch, const std::string&, double base) const {
  const int64_t within = std::clamp(epoch, options_.begin_step, options_.end_step);
  const int64_t stairs = (within - options_.begin_step) / options_.step_size;
  return base * std::pow(options_.gamma, static_cast<double>(stairs));
}

NamedValues StepDataScheduler::fields() const {
  return {{"gamma", options_.gamma},
          {"step_size", options_.step_size},
          {"begin_step", options_.begin_step},
          {"end_step", options_.end_step}};
}

void StepDataScheduler::set_fields(const NamedValues& fields) {
  StepDataSchedulerOptions options = with_steps(options_, fields);
  if (fields.contains("gamma")) options.gamma = fields.get<double>("gamma");
  if (fields.contains("step_size")) options.step_size = fields.get<int64_t>("step_size");
  options_ = checked(options);
}

LinearDataScheduler::LinearDataScheduler(BaseDataSparsifier& sparsifier,
                                         const LinearDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  check_names(options.final_values, sparsifier);
  start();
}

std::optional<int64_t> LinearDataScheduler::final_epoch() const {
  return end_of(options_.end_step);
}

double LinearDataScheduler::value_at(int64_t epoch, const std::string& name, double base) const {
  return ramp_at(options_, /*power=*/1, epoch, name, base);
}

NamedValues LinearDataScheduler::fields() const { return ramp_fields(options_); }

void LinearDataScheduler::set_fields(const NamedValues& fields) {
  options_ = checked(with_ramp(options_, fields));
}

CubicDataScheduler::CubicDataScheduler(BaseDataSparsifier& sparsifier,
                                       const CubicDataSchedulerOptions& options)
    : FormulaDataScheduler(sparsifier, base_options(options)), options_(checked(options)) {
  check_names(options.final_values, sparsifier);
  start();
}

std::optional<int64_t> CubicDataScheduler::final_epoch() const { return end_of(options_.end_step); }

double CubicDataScheduler::value_at(int64_t epoch, const std::string& name, double base) const {
  return ramp_at(options_, options_.power, epoch, name, base);
}

NamedValues CubicDataScheduler::fields() const {
  NamedValues fields = ramp_fields(options_);
  fields.set("power", options_.power);
  return fields;
}

void CubicDataScheduler::set_fields(const NamedValues& fields) {
  CubicDataSchedulerOptions options = with_ramp(options_, fields);
  if (fields.contains("power")) options.power = fields.get<double>("power");
  options_ = checked(options);
}

}  // namespace winnow
