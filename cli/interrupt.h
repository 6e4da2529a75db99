// SIGINT, SIGTERM and SIGHUP ask the tool to stop and clean up; a second one ends it at once.
#pragma once

namespace winnow::cli {

/// Handles the signals, except those that are already ignored, for example by nohup.
void watch_for_interrupts();

/// Returns true once one of the signals has arrived.
bool interrupted();

/// Ends the process by the signal that arrived, so that a shell sees it. Does nothing if there was
/// none.
void end_by_signal();

}  // namespace winnow::cli
