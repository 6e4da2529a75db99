// Private: the files that a writer of several made, and how they go.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow::io {

/// All names in `directory`, sorted. kUnsupportedFile: more than 262,144, which no checkpoint has
/// and which would take tens of megabytes.
Result<std::vector<std::string>> names_in(Env& env, const std::string& directory);

/// Removes the files `names` of `directory`, all of them or, if one is no regular file, none:
/// winnow makes only regular files, so that one belongs to somebody else (kUnsupportedFile).
Status remove_files(Env& env, const std::string& directory, std::span<const std::string> names);

/// Removes `directory` and all that is in it: regular files, and subdirectories of them down to
/// AtomicDirectory::kMaxDepth. If there is anything else, or more than 262,144 names in all,
/// nothing is removed (kUnsupportedFile). Symbolic links are such a thing and are not followed.
Status remove_tree(Env& env, const std::string& directory);

}  // namespace winnow::io
