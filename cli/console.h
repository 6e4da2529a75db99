// The tool's output: results go to standard output, everything else to standard error.
#pragma once

#include <string>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow::cli {

/// Writes all of `text` to standard output. Error: kIoError, also for a full disk or a closed pipe.
Status print(std::string_view text);

/// Returns a user's text, such as a path or the value of a flag, as printable text on one line.
std::string shown(std::string_view typed);

/// An error of a command that writes to `output`, with the flag that helps, if one does.
Status with_output_hint(const Status& status, const std::string& output);

/// Writes one line "winnow: MESSAGE" to standard error.
void complain(std::string_view message);

}  // namespace winnow::cli
