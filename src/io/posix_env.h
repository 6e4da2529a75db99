// Private: parts of the real system that a test calls on their own.
#pragma once

#include <string>

#include "winnow/base/status.h"

namespace winnow::io {

/// Gives `from` the name `to` unless that is taken (kAlreadyExists), by a hard link and the removal
/// of the old name. For file systems without renameat2's RENAME_NOREPLACE. A crash between the two
/// steps leaves both names.
Status rename_by_link(const std::string& from, const std::string& to);

}  // namespace winnow::io
