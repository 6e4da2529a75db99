// The commands, one file each. They print their result to standard output and return errors, which
// main prints and converts to an exit code.
#pragma once

#include "arguments.h"
#include "winnow/base/status.h"

namespace winnow::cli {

Status run_compress(const Arguments& arguments);
Status run_decompress(const Arguments& arguments);
Status run_inspect(const Arguments& arguments);
Status run_prune(const Arguments& arguments);
Status run_verify(const Arguments& arguments);

}  // namespace winnow::cli
