// PRIVATE. Progress of long calls, told to Python; signals and errors of Python, told to the call.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <optional>

#include "winnow/checkpoint/progress.h"

namespace winnow::python {

/// Calls an object's begin(stage, bytes) and advance(bytes), at most some twenty times a second.
/// The long call runs without the GIL, which is taken for these calls and for a look at signals.
class PythonProgress final : public Progress {
 public:
  /// `listener` may be None: then only signals are looked for. The GIL must be held.
  explicit PythonProgress(nanobind::object listener) : listener_(std::move(listener)) {}

  void begin(std::string_view stage, uint64_t bytes) override;
  void advance(uint64_t bytes) override;

  /// True once a signal's handler (Ctrl-C: KeyboardInterrupt) or the listener raised an exception.
  bool cancelled() override;

  /// Tells the last bytes, and raises the exception that stopped the call, if there is one. The GIL
  /// must be held.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  bool due();
  void tell();  // the GIL must be held
  template <typename Call>
  void guarded(const Call& call);

  nanobind::object listener_;
  std::optional<nanobind::python_error> error_;
  uint64_t untold_bytes_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace winnow::python
