// PRIVATE. The parts of the module torchwinnow._core, which knows neither torch nor NumPy by name.
#pragma once

#include <nanobind/nanobind.h>

namespace winnow::python {

/// Masks of arrays in memory.
void bind_arrays(nanobind::module_& module);

/// Whole files.
void bind_files(nanobind::module_& module);

/// Tensors read from files and written to them.
void bind_tensor_files(nanobind::module_& module);

/// Values of schedules and checks of settings.
void bind_rules(nanobind::module_& module);

/// Which tensors are left alone if nobody says.
void bind_selection(nanobind::module_& module);

}  // namespace winnow::python
