// Private: locks that are known to be on what a path names.
#pragma once

#include <memory>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow::io {

/// Locks the file (kRegular) or directory (kDirectory) that `path` names. Null if someone else
/// holds it, or took it away in between. Errors: those of try_lock and try_lock_directory.
Result<std::unique_ptr<FileLock>> lock_named(Env& env, const std::string& path, FileKind kind);

}  // namespace winnow::io
