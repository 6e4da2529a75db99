#include "progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "interrupt.h"
#include "units.h"

namespace winnow::cli {
namespace {

// Often enough to look alive, too seldom to cost time.
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr size_t kWidth = 30;

}  // namespace

ProgressBar::ProgressBar(const RunFlags& flags)
    : shown_(!flags.quiet && !flags.no_progress && isatty(STDERR_FILENO) == 1) {}

void ProgressBar::begin(std::string_view stage, uint64_t bytes) {
  stage_ = stage;
  total_ = bytes;
  done_ = 0;
  start_ = Clock::now();
  last_draw_ = start_ - kRedraw;  // the first bytes show at once
}

void ProgressBar::advance(uint64_t bytes) {
  done_ += bytes;
  const Clock::time_point now = Clock::now();
  if (!shown_ || now - last_draw_ < kRedraw) return;
  last_draw_ = now;
  draw(now);
}

bool ProgressBar::cancelled() { return interrupted(); }

void ProgressBar::clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

void ProgressBar::draw(Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share =
      total_ == 0 ? 1 : std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const double rate = static_cast<double>(done_) / seconds;
  const double left = share > 0 ? seconds / share - seconds : 0;
  const auto filled = static_cast<size_t>(share * kWidth);
  const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
  std::fprintf(stderr, "\r\033[K%.*s [%s] %3.0f %%  %s/s  %.0f s left",
               static_cast<int>(stage_.size()), stage_.data(), bar.c_str(), 100 * share,
               bytes_text(rate).c_str(), left);
  drawn_ = true;
}

}  // namespace winnow::cli
