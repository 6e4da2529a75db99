// Private: where files and directories are written before they get their names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace winnow::io {

inline constexpr size_t kMaxFileName = 255;  ///< NAME_MAX of the usual file systems, in bytes

/// Ends the name of what is removed if its writer is killed.
inline constexpr std::string_view kTempSuffix = ".winnow.tmp";

/// Ends the name of a whole file that waits for others before it gets its name; see AtomicFileSet.
inline constexpr std::string_view kStagedSuffix = ".winnow.new";

/// The file that says which of them do.
inline constexpr std::string_view kJournalName = ".winnow.journal";

/// The directory of `path`, "." if it names none.
std::string directory_of(const std::string& path);

/// `path` without its directory.
std::string file_name_of(const std::string& path);

/// The temporary file for the destination `path`: DIRECTORY/.NAME.winnow.tmp. One name for each
/// destination, so that a second writer and the leavings of a killed one are met without a search.
/// A name that would get longer than 255 bytes is cut and carries a hash of the whole one.
std::string temp_path_for(const std::string& path);

/// The same with the other suffix: DIRECTORY/.NAME.winnow.new. No AtomicFile takes it for a
/// leftover of its own.
std::string staged_path_for(const std::string& path);

}  // namespace winnow::io
