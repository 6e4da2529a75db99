// The commands, each in a file of its own. They print their result to standard output and return
// what went wrong; main prints that and chooses the exit code.
#pragma once

#include "arguments.h"
#include "winnow/base/status.h"

namespace winnow::cli {

Status run_inspect(const Arguments& arguments);
Status run_prune(const Arguments& arguments);
Status run_verify(const Arguments& arguments);

}  // namespace winnow::cli
