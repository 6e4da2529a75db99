// Private: where an atomic file is written before it gets its name.
#pragma once

#include <string>

namespace winnow::io {

/// The directory of `path`, "." if it names none.
std::string directory_of(const std::string& path);

/// `path` without its directory.
std::string file_name_of(const std::string& path);

/// The temporary file for the destination `path`: DIRECTORY/.NAME.winnow.tmp. One name for each
/// destination, so that a second writer and the leavings of a killed one are met without a search.
/// A name that would get longer than 255 bytes is cut and carries a hash of the whole one.
std::string temp_path_for(const std::string& path);

}  // namespace winnow::io
