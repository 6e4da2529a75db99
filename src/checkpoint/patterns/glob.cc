#include "checkpoint/patterns/glob.h"

#include <algorithm>
#include <cctype>

#include "winnow/base/utf8.h"

namespace winnow::checkpoint {
namespace {

// The POSIX classes, each with its letter in Token::classes. ASCII only, so that matches do not
// depend on the locale.
struct CharacterClass {
  std::u32string_view name;
  char letter;
  int (*contains)(int);
};
constexpr CharacterClass kClasses[] = {
    {U"alnum", 'n', std::isalnum}, {U"alpha", 'a', std::isalpha}, {U"blank", 'b', std::isblank},
    {U"cntrl", 'c', std::iscntrl}, {U"digit", 'd', std::isdigit}, {U"graph", 'g', std::isgraph},
    {U"lower", 'l', std::islower}, {U"print", 'p', std::isprint}, {U"punct", 't', std::ispunct},
    {U"space", 's', std::isspace}, {U"upper", 'u', std::isupper}, {U"xdigit", 'x', std::isxdigit},
};

bool class_contains(char letter, char32_t character) {
  if (character > 0x7F) return false;
  for (const CharacterClass& known : kClasses) {
    if (known.letter == letter) return known.contains(static_cast<int>(character)) != 0;
  }
  return false;
}

// Reads the class name between "[:" at `begin` and ":]". Returns its letter, 0 for an unknown name,
// and the position after it.
std::pair<char, size_t> read_class(std::u32string_view text, size_t begin) {
  const size_t close = text.find(U":]", begin + 2);
  if (close == std::u32string_view::npos) return {0, begin};
  const std::u32string_view name = text.substr(begin + 2, close - begin - 2);
  for (const CharacterClass& known : kClasses) {
    if (known.name == name) return {known.letter, close + 2};
  }
  return {0, begin};
}

}  // namespace

std::optional<std::u32string> code_points(std::string_view text) {
  std::u32string points;
  points.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    if (point.length == 0) return std::nullopt;
    points.push_back(point.value);
    text.remove_prefix(point.length);
  }
  return points;
}

Result<size_t> Glob::parse_set(std::u32string_view text, size_t begin, Token& token) {
  size_t at = begin + 1;
  token.negated = at < text.size() && (text[at] == U'!' || text[at] == U'^');
  if (token.negated) ++at;
  for (bool first = true; at < text.size(); first = false) {
    if (text[at] == U']' && !first) return at + 1;  // a leading ']' is a member of the set
    if (text.substr(at, 2) == U"[:") {
      const auto [letter, past] = read_class(text, at);
      if (letter == 0) {
        return Status(ErrorCode::kInvalidArgument, "unknown character class in brackets");
      }
      token.classes.push_back(letter);
      at = past;
      continue;
    }
    if (text[at] == U'\\' && at + 1 < text.size()) ++at;
    const char32_t low = text[at++];
    char32_t high = low;
    // A '-' before the closing bracket is a member of the set.
    if (at + 1 < text.size() && text[at] == U'-' && text[at + 1] != U']') {
      at += text[at + 1] == U'\\' && at + 2 < text.size() ? 2 : 1;
      high = text[at++];
    }
    token.ranges.emplace_back(low, high);
  }
  return begin;
}

Result<Glob> Glob::compile(std::u32string_view text) {
  Glob glob;
  for (size_t at = 0; at < text.size();) {
    Token token;
    if (text[at] == U'[') {
      Result<size_t> past = parse_set(text, at, token);
      if (!past.ok()) return past.status();
      // A '[' without its ']' is a plain character, and what follows is read again.
      token = *past > at ? std::move(token) : Token();
      token.kind = *past > at ? Kind::kSet : Kind::kChar;
      token.character = U'[';
      at = std::max(*past, at + 1);
    } else {
      token.kind = text[at] == U'*' ? Kind::kStar : text[at] == U'?' ? Kind::kAny : Kind::kChar;
      if (text[at] == U'\\' && ++at == text.size()) {
        return Status(ErrorCode::kInvalidArgument, "a backslash with nothing after it");
      }
      token.character = text[at++];
    }
    glob.tokens_.push_back(std::move(token));
  }
  return glob;
}

bool Glob::token_matches(const Token& token, char32_t character) {
  if (token.kind == Kind::kAny) return true;
  if (token.kind == Kind::kChar) return token.character == character;
  for (const auto& [low, high] : token.ranges) {
    if (low <= character && character <= high) return !token.negated;
  }
  for (const char letter : token.classes) {
    if (class_contains(letter, character)) return !token.negated;
  }
  return token.negated;
}

// Backtracks only to the last star, because an earlier one could not lead to a match that the last
// one misses. This bounds the time by pattern length times name length.
bool Glob::matches(std::u32string_view name) const {
  size_t token = 0, at = 0;
  size_t after_star = 0,
         star_end = 0;  // where to continue if the last star takes one more character
  bool seen_star = false;
  while (at < name.size() || token < tokens_.size()) {
    if (token < tokens_.size() && tokens_[token].kind == Kind::kStar) {
      seen_star = true;
      after_star = ++token;
      star_end = at;
    } else if (token < tokens_.size() && at < name.size() &&
               token_matches(tokens_[token], name[at])) {
      ++token;
      ++at;
    } else if (seen_star && star_end < name.size()) {
      token = after_star;
      at = ++star_end;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace winnow::checkpoint
