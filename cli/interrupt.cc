#include "interrupt.h"

#include <csignal>
#include <initializer_list>

namespace winnow::cli {
namespace {

// All that a signal handler may write to.
volatile std::sig_atomic_t caught_signal = 0;

void remember(int signal) { caught_signal = signal; }

}  // namespace

void watch_for_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    // Signals that nohup, or a shell in the background, has switched off stay off.
    if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action.sa_handler = remember;
    // RESETHAND: a second Ctrl-C ends the program at once. RESTART: reads and writes go on.
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(signal, &action, nullptr);
  }
}

bool interrupted() { return caught_signal != 0; }

void end_by_signal() {
  if (caught_signal == 0) return;
  std::signal(caught_signal, SIG_DFL);
  std::raise(caught_signal);
}

}  // namespace winnow::cli
