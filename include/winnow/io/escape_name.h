// Makes names from files, and paths, safe to print.
#pragma once

#include <string>
#include <string_view>

namespace winnow {

/// Returns `name` as printable UTF-8 on one line, for messages and listings, without quotes.
///
/// Quotes and backslashes get a backslash; control bytes and bytes that are not UTF-8 become \xNN;
/// code points that move the cursor or change the direction of writing (C1 controls, bidirectional
/// marks, line separators, the byte order mark) become \uNNNN. A name over 160 bytes is cut to its
/// first 128, followed by "..." and its length. The result has at most 600 bytes.
std::string escape_name(std::string_view name);

/// Does the same for a path, but never cuts it.
std::string escape_path(std::string_view path);

}  // namespace winnow
