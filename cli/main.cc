// winnow: the command-line tool.
#include <new>
#include <stdexcept>

#include "commands.h"
#include "console.h"
#include "exit_code.h"
#include "interrupt.h"
#include "json_report.h"
#include "winnow/io/env.h"
#include "winnow/kernels/simd_level.h"

namespace winnow::cli {
namespace {

Status run_command(const Arguments& arguments) {
  // A WINNOW_SIMD that cannot be had is an error before anything is read.
  if (Result<SimdLevel> level = active_simd_level(); !level.ok()) return level.status();
  switch (arguments.command) {
    case Command::kInspect:
      return run_inspect(arguments);
    case Command::kPrune:
      return run_prune(arguments);
    case Command::kVerify:
      return run_verify(arguments);
    case Command::kCompress:
      return run_compress(arguments);
    case Command::kDecompress:
      return run_decompress(arguments);
  }
  return Status();
}

// Below this layer nothing throws on purpose; memory for small things can still run out, and the
// system can refuse threads.
Status run_guarded(const Arguments& arguments) {
  try {
    return run_command(arguments);
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return Status(ErrorCode::kIoError, error.what());
  }
}

int run(int argc, const char* const* argv) {
  std::string text;
  Result<std::optional<Arguments>> arguments = parse_arguments(argc, argv, text);
  if (!arguments.ok()) {
    complain(arguments.status().message());
    return kExitUsage;
  }
  const Status status = *arguments ? run_guarded(**arguments) : print(text);
  if (status.ok()) return kExitOk;
  complain(status.message());
  // Does not return if a signal was caught: a stopped run prints no JSON.
  if (status.code() == ErrorCode::kInterrupted) end_by_signal();
  if (*arguments && (*arguments)->run.json) (void)print(error_json(status));
  return exit_code(status.code());
}

}  // namespace
}  // namespace winnow::cli

int main(int argc, char** argv) {
  winnow::ignore_write_signals();
  winnow::cli::watch_for_interrupts();
  return winnow::cli::run(argc, argv);
}
