// Patterns that select tensors by name, as users type them.
//
//   Result<Pattern> pattern = Pattern::compile("encoder.*.weight");
//   if (pattern.ok() && pattern->matches(tensor.name)) ...
//
// Thread-safety: const members may be called from several threads at once.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// A shell glob, or after "re:" a regular expression. Either must match the whole name, which may
/// be any UTF-8 text, NUL and slashes included.
///
/// A glob is what fnmatch(3) takes without flags: `*` any text, `?` one character, `[a-z]`,
/// `[!a-z]` (also `[^a-z]`) and `[[:digit:]]` one of a set, `\` makes the next character plain.
/// Neither "/" nor a leading "." is special, and there are no collating symbols. Time: at most
/// pattern length times name length.
///
/// A regular expression has ECMAScript's syntax without back-references and works on bytes. Its
/// time is polynomial for every pattern and name; it matches no name over kMaxRegexName bytes.
class Pattern {
 public:
  static constexpr size_t kMaxPattern = 1024;    ///< bytes of a pattern's text
  static constexpr size_t kMaxRegexName = 4096;  ///< bytes of a name that a regex looks at

  /// Errors: kInvalidArgument for text that is empty, too long, not UTF-8 or no valid pattern.
  static Result<Pattern> compile(std::string text);

  bool matches(std::string_view name) const;

  /// The text as it was given, "re:" included.
  const std::string& text() const noexcept { return text_; }

 private:
  class Matcher;
  class GlobMatcher;
  class RegexMatcher;

  std::string text_;
  std::shared_ptr<const Matcher> matcher_;
};

/// The names of `tensors` and `aliases` that come nearest to what `pattern` would match, best
/// first, at most `limit`. Nearness is the edit distance in bytes, where wildcards match for free.
/// Cost is bounded: of long names and long lists only the beginning is looked at.
std::vector<std::string> nearest_names(const Pattern& pattern, std::span<const TensorInfo> tensors,
                                       size_t limit, std::span<const TensorAlias> aliases = {});

}  // namespace winnow
