// How the tool's errors become exit codes.
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
constexpr ExitCode exit_code(ErrorCode code) {
  if (code == ErrorCode::kOk) return kExitOk;
  if (code < ErrorCode::kCheckFailed) return kExitUsage;
  if (code == ErrorCode::kCheckFailed) return kExitCheckFailed;
  if (code < ErrorCode::kNanValue) return kExitSystem;
  return kExitBadInput;
}

}  // namespace winnow::cli
