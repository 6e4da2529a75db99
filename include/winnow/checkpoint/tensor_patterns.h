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

/// A shell glob or, after "re:", a regular expression. Both must match the whole name, which may be
/// any UTF-8 text, including NUL and slashes.
///
/// A glob has the syntax of fnmatch(3) without flags: `*` matches any text, `?` one character,
/// `[a-z]`, `[!a-z]` (or `[^a-z]`) and `[[:digit:]]` one character of a set; `\` quotes the next
/// character. "/" and a leading "." are not special; collating symbols are not supported. Time: at
/// most pattern length times name length.
///
/// A regular expression has ECMAScript's syntax without back-references and works on bytes. Its
/// time is polynomial for every pattern and name; it never matches names over kMaxRegexName bytes.
class Pattern {
 public:
  static constexpr size_t kMaxPattern = 1024;    ///< bytes of a pattern's text
  static constexpr size_t kMaxRegexName = 4096;  ///< bytes of the longest name a regex can match

  /// Compiles a pattern. Error: kInvalidArgument for text that is empty, too long, not UTF-8 or not
  /// a valid pattern.
  static Result<Pattern> compile(std::string text);

  /// Returns true if the pattern matches the whole of `name`.
  bool matches(std::string_view name) const;

  /// Returns the text that was given to `compile`, including "re:".
  const std::string& text() const noexcept { return text_; }

 private:
  class Matcher;
  class GlobMatcher;
  class RegexMatcher;

  std::string text_;
  std::shared_ptr<const Matcher> matcher_;
};

/// Returns up to `limit` names of `tensors` and `aliases` that are nearest to a match of `pattern`,
/// best first. The distance is the edit distance in bytes, with wildcards matching at no cost. Only
/// the beginning of long names and lists is searched, so the cost is bounded.
std::vector<std::string> nearest_names(const Pattern& pattern, std::span<const TensorInfo> tensors,
                                       size_t limit, std::span<const TensorAlias> aliases = {});

}  // namespace winnow
