// The rules that both sparsifiers obey: values of schedules, checks of settings and of packed
// masks. The callers in torchwinnow have made sure of the types. A `check_` raises ValueError,
// which says what it expected; Python's None as an end_step is kNoEnd here.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core_bindings.h"
#include "python_status.h"
#include "winnow/base/edit_distance.h"
#include "winnow/core/packed_mask.h"
#include "winnow/core/schedule.h"
#include "winnow/core/settings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

using End = std::optional<int64_t>;

/// `function`, raising if it returns an error.
template <typename... Arguments>
auto raising(Status (*function)(Arguments...)) {
  return [function](Arguments... arguments) { raise_if_error(function(arguments...)); };
}

template <typename T, typename... Arguments>
auto raising(Result<T> (*function)(Arguments...)) {
  return [function](Arguments... arguments) { return value_or_raise(function(arguments...)); };
}

ScheduleSteps steps_of(int64_t begin, End end) { return {begin, end.value_or(kNoEnd)}; }

int64_t clamped(int64_t epoch, int64_t begin, End end) {
  return clamped_epoch(steps_of(begin, end), epoch);
}

double stair(double base, int64_t epoch, double gamma, int64_t size, int64_t begin, End end) {
  return stair_value({gamma, size, steps_of(begin, end)}, base, epoch);
}

double ramp(double initial, double final, int64_t epoch, double power, int64_t begin, int64_t end) {
  return ramp_value({initial, power, {begin, end}}, final, epoch);
}

Status check_steps(int64_t begin, End end) { return validate(steps_of(begin, end)); }

Status check_stair(double gamma, int64_t size) { return validate(StairSchedule{gamma, size}); }

Status check_ramp(double initial, double power) { return validate(RampSchedule{initial, power}); }

std::optional<uint64_t> partial_zeros(double level, int64_t rows, int64_t cols,
                                      std::optional<int64_t> zeros) {
  return value_or_raise(data_norm_config(level, rows, cols, zeros, Norm::kL1)).zeros_per_block;
}

std::string upper_norm_name(std::string_view name) {
  return std::string(norm_name(value_or_raise(norm_from_name(name))));
}

void check_scope(std::string_view name) { value_or_raise(scope_from_name(name)); }

uint64_t mask_numel(const std::vector<int64_t>& shape, uint64_t bytes) {
  return value_or_raise(packed_mask_numel(shape, bytes));
}

}  // namespace

void bind_rules(nb::module_& m) {
  m.def("clamped_epoch", &clamped, "epoch"_a, "begin_step"_a, "end_step"_a.none());
  m.def("stair_value", &stair, "base"_a, "epoch"_a, "gamma"_a, "step_size"_a, "begin_step"_a,
        "end_step"_a.none());
  m.def("ramp_value", &ramp, "initial_value"_a, "final_value"_a, "epoch"_a, "power"_a,
        "begin_step"_a, "end_step"_a);
  m.def("scheduled_integer", raising(&scheduled_integer), "field"_a, "value"_a);
  m.def("check_steps", raising(&check_steps), "begin_step"_a, "end_step"_a.none());
  m.def("check_stair", raising(&check_stair), "gamma"_a, "step_size"_a);
  m.def("check_ramp", raising(&check_ramp), "initial_value"_a, "power"_a);
  m.def("check_finite", raising(&check_finite), "field"_a, "value"_a);
  m.def("check_last_epoch", raising(&check_last_epoch), "last_epoch"_a);

  m.attr("WHOLE_DIMENSION") = kWholeDimension;
  m.def("check_sparsity_level", raising(&check_sparsity_level), "sparsity_level"_a);
  m.def("sparsity_level_hint", &sparsity_level_hint, "sparsity_level"_a);
  m.def("check_sparse_block_shape", raising(&check_sparse_block_shape), "rows"_a, "cols"_a);
  m.def("check_zeros_per_block", raising(&check_zeros_per_block), "zeros_per_block"_a);
  m.def("block_values", &block_values, "rows"_a, "cols"_a);
  m.def("partial_zeros", &partial_zeros, "sparsity_level"_a, "rows"_a, "cols"_a,
        "zeros_per_block"_a.none(),
        "Checks the settings together: zeros_per_block, or None for the whole block.");
  m.def("check_nm", raising(&check_nm), "n"_a, "m"_a);
  m.def("norm_name", &upper_norm_name, "name"_a);
  m.def("check_scope", &check_scope, "name"_a);
  m.def("is_misspelt", &is_misspelt, "known"_a, "name"_a);
  m.def("packed_mask_numel", &mask_numel, "shape"_a, "bytes"_a);
}

}  // namespace winnow::python
