#include "checkpoint/patterns/pattern_list.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {

using Names = std::span<const std::string_view>;

bool matches_any(const Pattern& pattern, Names names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return pattern.matches(name); });
}

std::string pattern_label(const Pattern& pattern, std::string_view kind) {
  return concat(kind, " pattern '", escape_name(pattern.text()), "'");
}

namespace {

constexpr size_t kShownNames = 3;     // in the message for a pattern that matches nothing
constexpr size_t kMaxShownName = 80;  // bytes of such a name

// The first bracket expression of a glob, as typed; empty if there is none.
std::string bracket_of(const std::string& glob) {
  const size_t open = glob.find('[');
  const size_t close = open == std::string::npos ? open : glob.find(']', open);
  return close == std::string::npos ? "" : glob.substr(open, close + 1 - open);
}

// The glob with its brackets escaped.
std::string with_plain_brackets(const std::string& glob) {
  std::string text;
  for (const char c : glob) {
    if (c == '[' || c == ']') text.push_back('\\');
    text.push_back(c);
  }
  return text;
}

// The hint for a glob that matches nothing because its brackets were meant literally. Names of
// tensors often contain brackets, such as "blocks[0].weight".
std::string bracket_hint(const Pattern& pattern, Names names) {
  const std::string bracket = bracket_of(pattern.text());
  if (pattern.text().starts_with("re:") || bracket.empty()) return "";
  const std::string plain = with_plain_brackets(pattern.text());
  const Result<Pattern> meant = Pattern::compile(plain);
  if (!meant.ok() || !matches_any(*meant, names)) return "";
  // Only if the pattern can be shown as typed: escaping it would double the backslashes.
  if (escape_path(pattern.text()) != pattern.text()) return "";
  return "; '" + bracket + "' is a pattern; escape it: '" + plain + "'";
}

Status unknown_tensor(const Pattern& pattern, std::string_view kind,
                      std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases,
                      Names names) {
  std::string message =
      concat(pattern_label(pattern, kind), ": expected a match among ", tensors.size(), " tensors");
  if (!aliases.empty()) {
    message += concat(" and ", aliases.size(), aliases.size() == 1 ? " alias" : " aliases");
  }
  message += ", found none";
  const std::string hint = bracket_hint(pattern, names);
  if (!hint.empty()) return Status(ErrorCode::kUnknownTensor, message + hint);
  const char* separator = "; nearest: '";
  for (const std::string& name : nearest_names(pattern, tensors, kShownNames, aliases)) {
    message += separator + escape_name(name).substr(0, kMaxShownName) + "'";
    separator = ", '";
  }
  return Status(ErrorCode::kUnknownTensor, std::move(message));
}

}  // namespace

Result<std::vector<Pattern>> compile_patterns(const std::vector<std::string>& texts,
                                              std::string_view kind,
                                              std::span<const TensorInfo> tensors,
                                              std::span<const TensorAlias> aliases,
                                              const TensorNames& names) {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) {
    WINNOW_ASSIGN_OR_RETURN(Pattern pattern, Pattern::compile(text));
    if (!matches_any(pattern, names.all())) {
      return unknown_tensor(pattern, kind, tensors, aliases, names.all());
    }
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

}  // namespace winnow::checkpoint
