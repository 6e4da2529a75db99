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

/// Returns the exit code of an error. Each range of ErrorCode has one.
constexpr ExitCode exit_code(ErrorCode code) {
  if (code == ErrorCode::kOk) return kExitOk;
  if (code < ErrorCode::kCheckFailed) return kExitUsage;
  if (code == ErrorCode::kCheckFailed) return kExitCheckFailed;
  if (code < ErrorCode::kNanValue) return kExitSystem;
  return kExitBadInput;
}

}  // namespace winnow::cli
