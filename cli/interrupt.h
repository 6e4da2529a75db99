// SIGINT, SIGTERM and SIGHUP ask the tool to stop and clean up; a second one ends it at once.
#pragma once

namespace winnow::cli {

/// Takes over those of the signals that are not ignored already (as nohup does).
void watch_for_interrupts();

/// True once one of the signals has come.
bool interrupted();

/// Ends the process by the signal that came, so that a shell sees what happened. Does nothing where
/// none came.
void end_by_signal();

}  // namespace winnow::cli
