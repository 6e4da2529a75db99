#include "io/file/errno_status.h"

#include <cerrno>
#include <system_error>

#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {

Status errno_status(std::string_view action, std::string_view path, int error) {
  const StatusCode code = error == EEXIST ? ErrorCode::kAlreadyExists : ErrorCode::kIoError;
  return {code,
          concat("cannot ", action, " \"", escape_path(path),
                 "\": ", std::generic_category().message(error)),
          error};
}

Status unsupported_file(std::string_view path, std::string_view what) {
  return {ErrorCode::kUnsupportedFile,
          concat("\"", escape_path(path), "\" is ", what, ", not a regular file")};
}

}  // namespace winnow::io
