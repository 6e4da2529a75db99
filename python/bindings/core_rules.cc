// The rules that both sparsifiers obey: values of schedules, checks of settings and of packed
// masks. The callers in torchwinnow have made sure of the types.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "base/edit_distance.h"
#include "core_bindings.h"
#include "python_status.h"
#include "winnow/core/packed_mask.h"
#include "winnow/core/schedule.h"
#include "winnow/core/settings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

// Python's None as an end is kNoEnd here.
ScheduleSteps steps_of(int64_t begin_step, std::optional<int64_t> end_step) {
  return {begin_step, end_step.value_or(kNoEnd)};
}

void bind_schedules(nb::module_& m) {
  using End = std::optional<int64_t>;
  m.def(
      "clamped_epoch",
      [](int64_t epoch, int64_t begin, End end) {
        return clamped_epoch(steps_of(begin, end), epoch);
      },
      "epoch"_a, "begin_step"_a, "end_step"_a.none(), "An epoch within the steps of a schedule.");
  m.def(
      "stair_value",
      [](double base, int64_t epoch, double gamma, int64_t step_size, int64_t begin, End end) {
        return stair_value({gamma, step_size, steps_of(begin, end)}, base, epoch);
      },
      "base"_a, "epoch"_a, "gamma"_a, "step_size"_a, "begin_step"_a, "end_step"_a.none(),
      "The value of a stair at an epoch.");
  m.def(
      "ramp_value",
      [](double initial, double final, int64_t epoch, double power, int64_t begin, int64_t end) {
        return ramp_value({initial, power, {begin, end}}, final, epoch);
      },
      "initial_value"_a, "final_value"_a, "epoch"_a, "power"_a, "begin_step"_a, "end_step"_a,
      "The value of a ramp at an epoch.");
  m.def(
      "scheduled_integer",
      [](const std::string& field, double value) {
        return value_or_raise(scheduled_integer(field, value));
      },
      "field"_a, "value"_a, "The nearest integer, halves away from 0.");
  m.def(
      "check_steps", [](int64_t begin, End end) { raise_if_error(validate(steps_of(begin, end))); },
      "begin_step"_a, "end_step"_a.none(), "ValueError for steps that are out of their range.");
  m.def(
      "check_stair",
      [](double gamma, int64_t step_size) {
        raise_if_error(validate(StairSchedule{.gamma = gamma, .step_size = step_size}));
      },
      "gamma"_a, "step_size"_a, "ValueError for a stair that is out of its range.");
  m.def(
      "check_ramp",
      [](double initial, double power) {
        raise_if_error(validate(RampSchedule{.initial_value = initial, .power = power}));
      },
      "initial_value"_a, "power"_a, "ValueError for a ramp that is out of its range.");
  m.def(
      "check_finite",
      [](const std::string& field, double value) { raise_if_error(check_finite(field, value)); },
      "field"_a, "value"_a, "ValueError for NaN and infinity.");
  m.def(
      "check_last_epoch", [](int64_t epoch) { raise_if_error(check_last_epoch(epoch)); },
      "last_epoch"_a, "ValueError for an epoch that is less than none.");
}

void bind_settings(nb::module_& m) {
  m.attr("WHOLE_DIMENSION") = kWholeDimension;
  m.def(
      "check_sparsity_level", [](double level) { raise_if_error(check_sparsity_level(level)); },
      "sparsity_level"_a, "ValueError for NaN and infinity.");
  m.def("sparsity_level_hint", &sparsity_level_hint, "sparsity_level"_a,
        "What a level outside [0, 1] does, for a warning; empty for others.");
  m.def(
      "check_sparse_block_shape",
      [](int64_t rows, int64_t cols) { raise_if_error(check_sparse_block_shape(rows, cols)); },
      "rows"_a, "cols"_a, "ValueError for sides below 1.");
  m.def(
      "check_zeros_per_block", [](int64_t zeros) { raise_if_error(check_zeros_per_block(zeros)); },
      "zeros_per_block"_a, "ValueError for a negative number.");
  m.def("block_values", &block_values, "rows"_a, "cols"_a, "How many values a block has.");
  m.def(
      "partial_zeros",
      [](double level, int64_t rows, int64_t cols, std::optional<int64_t> zeros) {
        const auto config = value_or_raise(data_norm_config(level, rows, cols, zeros, Norm::kL1));
        return config.zeros_per_block;
      },
      "sparsity_level"_a, "rows"_a, "cols"_a, "zeros_per_block"_a.none(),
      "Checks the settings together: zeros_per_block, or None for the whole block.");
  m.def(
      "check_nm", [](int64_t n, int64_t m_) { raise_if_error(check_nm(n, m_)); }, "n"_a, "m"_a,
      "ValueError unless 0 <= n <= m and m >= 1.");
  m.def(
      "norm_name",
      [](const std::string& name) {
        return std::string(norm_name(value_or_raise(norm_from_name(name))));
      },
      "name"_a, "A norm's name in upper case.");
  m.def(
      "check_scope", [](const std::string& name) { value_or_raise(scope_from_name(name)); },
      "name"_a, "ValueError for another scope.");
  m.def("is_misspelt", &is_misspelt, "known"_a, "name"_a,
        "Whether a name is probably the known one, misspelt.");
}

void bind_packed_masks(nb::module_& m) {
  m.def(
      "packed_mask_numel",
      [](const std::vector<int64_t>& shape, uint64_t bytes) {
        return value_or_raise(packed_mask_numel(shape, bytes));
      },
      "shape"_a, "bytes"_a, "How many values a packed mask of this shape and these bytes has.");
}

}  // namespace

void bind_rules(nb::module_& m) {
  bind_schedules(m);
  bind_settings(m);
  bind_packed_masks(m);
}

}  // namespace winnow::python
