// A progress bar on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "arguments.h"
#include "winnow/checkpoint/progress.h"

namespace winnow::cli {

/// Shows stage, share, bytes per second and remaining time on one line, if standard error is a
/// terminal and the flags allow it. Reports signals as cancellation in any case.
class ProgressBar final : public Progress {
 public:
  explicit ProgressBar(const RunFlags& flags);
  ~ProgressBar() override { clear(); }

  void begin(std::string_view stage, uint64_t bytes) override;
  void advance(uint64_t bytes) override;
  bool cancelled() override;

  /// Removes the bar from the line, so that other output can follow.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  const bool shown_;
  bool drawn_ = false;
  std::string_view stage_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
  Clock::time_point start_, last_draw_;
};

}  // namespace winnow::cli
