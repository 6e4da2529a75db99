#include "python_status.h"

#include <nanobind/nanobind.h>

#include <string_view>

namespace nb = nanobind;

namespace winnow::python {

void raise_if_error(const Status& status) {
  if (status.ok()) return;
  // Paths in messages are escaped and names in files are UTF-8; a stray byte may not hide the
  // error.
  const std::string_view text = status.message();
  const nb::object message =
      nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  const std::string_view name = status.code().name;
  const nb::str code(name.data(), name.size());
  const nb::object error = nb::module_::import_("torchwinnow.errors")
                               .attr("from_status")(code, message, status.system_error());
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

}  // namespace winnow::python
