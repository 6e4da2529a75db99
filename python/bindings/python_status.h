// PRIVATE. Errors of the library as exceptions of Python.
#pragma once

#include <utility>

#include "winnow/base/status.h"

namespace winnow::python {

/// Raises, by throwing nanobind::python_error, the exception that torchwinnow/errors.py makes of an
/// error. Does nothing if `status` is ok. The GIL must be held.
void raise_if_error(const Status& status);

/// The value; raises likewise if there is none.
template <typename T>
T value_or_raise(Result<T> result) {
  raise_if_error(result.status());
  return std::move(result).value();
}

}  // namespace winnow::python
