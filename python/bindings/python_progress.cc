#include "python_progress.h"

namespace nb = nanobind;

namespace winnow::python {
namespace {

// Waiting for the GIL costs 5 ms if another thread computes in Python.
constexpr auto kInterval = std::chrono::milliseconds(50);

}  // namespace

template <typename Call>
void PythonProgress::guarded(const Call& call) {
  if (error_) return;
  const nb::gil_scoped_acquire gil;
  try {
    call();
  } catch (nb::python_error& error) {
    error_.emplace(std::move(error));
  }
}

bool PythonProgress::due() {
  const Clock::time_point now = Clock::now();
  if (now - last_ < kInterval) return false;
  last_ = now;
  return true;
}

void PythonProgress::tell() {
  if (!listener_.is_none() && untold_bytes_ > 0) listener_.attr("advance")(untold_bytes_);
  untold_bytes_ = 0;
}

void PythonProgress::begin(std::string_view stage, uint64_t bytes) {
  guarded([&] {
    tell();
    if (!listener_.is_none()) listener_.attr("begin")(nb::str(stage.data(), stage.size()), bytes);
  });
}

void PythonProgress::advance(uint64_t bytes) {
  untold_bytes_ += bytes;
  if (!due()) return;
  guarded([&] {
    tell();
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  });
}

bool PythonProgress::cancelled() {
  if (!error_ && due()) {
    guarded([] {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    });
  }
  return error_.has_value();
}

void PythonProgress::finish() {
  guarded([&] { tell(); });
  if (error_) throw std::move(*error_);
}

}  // namespace winnow::python
