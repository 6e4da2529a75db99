// Private: shell globs over code points, with the syntax of fnmatch(3) without flags.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/status.h"

namespace winnow::checkpoint {

/// Returns the code points of `text`, or nullopt if it is not UTF-8.
std::optional<std::u32string> code_points(std::string_view text);

/// A compiled glob.
class Glob {
 public:
  /// Errors: kInvalidArgument for an unknown character class or a backslash at the end.
  static Result<Glob> compile(std::u32string_view text);

  bool matches(std::u32string_view name) const;

 private:
  enum class Kind { kChar, kAny, kStar, kSet };

  // One step of the pattern: a character, `?`, `*` or a bracket expression.
  struct Token {
    Kind kind = Kind::kChar;
    char32_t character = 0;
    bool negated = false;
    std::vector<std::pair<char32_t, char32_t>> ranges;  // first and last, both included
    std::string classes;                                // one letter for each [:class:]
  };

  // Reads the bracket expression whose '[' is at `begin`. Returns the position after its ']', or
  // `begin` if it is not closed; then the '[' is a plain character.
  static Result<size_t> parse_set(std::u32string_view text, size_t begin, Token& token);
  static bool token_matches(const Token& token, char32_t character);

  std::vector<Token> tokens_;
};

}  // namespace winnow::checkpoint
