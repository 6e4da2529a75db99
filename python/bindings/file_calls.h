// PRIVATE. What the calls on files share: their texts, and a long call without the GIL.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "python_progress.h"
#include "python_status.h"
#include "threads/tbb_parallel_for.h"
#include "winnow/base/status.h"

namespace winnow::python {

/// Safetensors names are UTF-8, which the header's reader has checked.
inline nanobind::str text(std::string_view value) {
  return nanobind::str(value.data(), value.size());
}

inline std::string path_of(const nanobind::bytes& path) { return {path.c_str(), path.size()}; }

/// A value of a report.
nanobind::object object_of(const auto& value) { return nanobind::cast(value); }
inline nanobind::object object_of(const std::vector<uint64_t>& shape) {
  return nanobind::tuple(nanobind::cast(shape));
}

/// The fields that visit_fields lists of the parts, in one dictionary.
nanobind::dict fields_dict(const auto&... parts) {
  nanobind::dict result;
  const auto add = [&](std::string_view name, const auto& value) {
    result[text(name)] = object_of(value);
  };
  (visit_fields(parts, add), ...);
  return result;
}

/// The result of a call on `threads` threads. The library throws nothing on purpose; memory for
/// small things can still run out, and the system can refuse threads.
template <typename Call>
auto guarded(size_t threads, const Call& call) -> decltype(call(std::declval<ParallelFor&>())) {
  try {
    TbbParallelFor parallel(threads);
    return call(parallel);
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return Status(ErrorCode::kIoError, error.what());
  }
}

/// Runs a long call without the GIL; what it returned, or the exception that it ended with.
template <typename Call>
auto run(size_t threads, nanobind::object listener, const Call& call) {
  PythonProgress progress(std::move(listener));
  auto result = [&] {
    const nanobind::gil_scoped_release no_gil;
    return guarded(threads, [&](ParallelFor& parallel) { return call(parallel, progress); });
  }();
  progress.finish();
  if constexpr (std::is_same_v<decltype(result), Status>) {
    raise_if_error(result);
  } else {
    return value_or_raise(std::move(result));
  }
}

}  // namespace winnow::python
