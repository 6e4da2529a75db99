// The tool's exit codes.
#pragma once

#include "winnow/base/status.h"

namespace winnow::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitCheckFailed = 1,
  kExitUsage = 2,
  kExitBadInput = 3,
  kExitSystem = 4,
};

/// The exit code for an error of that kind; the ranges are those of ErrorCode.
constexpr ExitCode exit_code(StatusCode code) {
  if (code == ErrorCode::kOk) return kExitOk;
  if (code.number < 20) return kExitUsage;
  if (code.number < 40) return kExitCheckFailed;
  if (code.number < 60) return kExitSystem;
  return kExitBadInput;
}

}  // namespace winnow::cli
