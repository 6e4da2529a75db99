// Names of files within one directory.
#pragma once

#include <string_view>

#include "winnow/base/status.h"

namespace winnow {

/// Returns ok if `name` names a file in a directory, whatever the directory: from 1 to 255 bytes,
/// no slash and no NUL, not "." or "..", and no name of winnow's own (is_working_name). Else
/// kInvalidArgument, with a message that starts with the name. For names that come from a file.
Status check_file_name(std::string_view name);

/// Whether files of this name are made by winnow itself while it writes, and removed by it if a run
/// is killed: `.NAME.winnow.tmp`, `.NAME.winnow.new` and `.winnow.journal`.
bool is_working_name(std::string_view name) noexcept;

}  // namespace winnow
