// The module torchwinnow._core: the library without torch, for torchwinnow/files.py and tensors.py,
// which are its manual. Everything here is private to the package.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "core_bindings.h"
#include "python_status.h"
#include "threads/tbb_parallel_for.h"
#include "winnow/base/version.h"
#include "winnow/kernels/simd_level.h"

namespace nb = nanobind;

NB_MODULE(_core, m) {
  m.doc() = "winnow without torch. Private: use torchwinnow's own functions.";
  m.attr("version") = WINNOW_VERSION;
  m.def(
      "simd_level",
      [] {
        const winnow::Result<winnow::SimdLevel> level = winnow::active_simd_level();
        winnow::python::raise_if_error(level.status());
        return std::string(winnow::simd_level_name(*level));
      },
      "The SIMD level that runs, by name.");
  m.def("usable_cores", &winnow::usable_cores, "How many threads this process may run on.");
  winnow::python::bind_arrays(m);
  winnow::python::bind_files(m);
  winnow::python::bind_tensor_files(m);
  winnow::python::bind_rules(m);
  winnow::python::bind_selection(m);
}
