// Private: errors of the system as Status.
#pragma once

#include <string>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow::io {

/// kIoError (kAlreadyExists for EEXIST): cannot `action` "path": errno's text.
Status errno_status(std::string_view action, std::string_view path, int error);

/// kUnsupportedFile: "path" is `what`, not a regular file.
Status unsupported_file(std::string_view path, std::string_view what);

}  // namespace winnow::io
