// How far a misspelt name is from another.
#pragma once

#include <cstddef>
#include <string_view>

namespace winnow {

/// In a pattern: matches any text for free. No name that a user writes holds it.
inline constexpr char kAnyText = '\0';

/// Levenshtein's distance in bytes where kAnyText in `pattern` matches any text for free.
/// Time is the product of the lengths.
size_t edit_distance(std::string_view pattern, std::string_view name);

/// Whether `name` is probably `known`, misspelt: at most two letters off, fewer in a short name, to
/// which nearly every other is near.
bool is_misspelt(std::string_view known, std::string_view name);

}  // namespace winnow
