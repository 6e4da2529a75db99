// Names out of files, and paths, made safe to show.
#pragma once

#include <string>
#include <string_view>

namespace winnow {

/// `name` as printable UTF-8 on one line, for messages and listings; without quotes around it.
///
/// Quotes and backslashes get a backslash; control bytes and bytes that are not UTF-8 become \xNN;
/// code points that move the cursor or turn the direction of writing (C1 controls, bidirectional
/// marks, line separators, the byte order mark) become \uNNNN. Of a name over 160 bytes, the first
/// 128 are shown, then "..." and the length. The result has at most 600 bytes, whatever the name.
std::string escape_name(std::string_view name);

/// The same for a path: nothing is left out, however long it is.
std::string escape_path(std::string_view path);

}  // namespace winnow
