// Private: edits to a JSON text that keep all its other bytes. Writing it anew would round numbers
// and lose spaces.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::checkpoint {

/// An entry of an object, by the offsets of its parts in the text.
struct JsonEntry {
  std::string key;   ///< escapes resolved
  size_t begin = 0;  ///< of the key, with its quotes
  size_t key_end = 0;
  size_t value = 0;  ///< begin of the value
  size_t end = 0;    ///< of the value, not included

  /// The entry as it stands in `text`.
  std::string text_in(std::string_view text) const {
    return std::string(text.substr(begin, end - begin));
  }
};

/// The entries of the object that begins at byte `at` of `text`, or that is all of `text`, in their
/// order. Linear time. Precondition: the text is valid JSON and has an object there; the caller
/// has checked that, so there is no error.
std::vector<JsonEntry> json_entries(std::string_view text);
std::vector<JsonEntry> json_entries(std::string_view text, size_t at);

/// `text` with each of `entries`, which are all those of one object, replaced by what `edit` gives
/// for it; without a value it is taken out, with one of the commas beside it.
std::string edit_entries(std::string_view text, std::span<const JsonEntry> entries,
                         const std::function<std::optional<std::string>(const JsonEntry&)>& edit);

}  // namespace winnow::checkpoint
