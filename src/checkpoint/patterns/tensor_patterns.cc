#include "winnow/checkpoint/tensor_patterns.h"

#include <algorithm>
#include <cstdint>
#include <regex>
#include <utility>

#include "checkpoint/patterns/glob.h"
#include "winnow/base/concat.h"
#include "winnow/base/edit_distance.h"
#include "winnow/io/escape_name.h"

namespace winnow {

using namespace checkpoint;

class Pattern::Matcher {
 public:
  virtual ~Matcher() = default;
  virtual bool matches(std::string_view name) const = 0;
};

class Pattern::GlobMatcher final : public Matcher {
 public:
  explicit GlobMatcher(Glob glob) : glob_(std::move(glob)) {}

  bool matches(std::string_view name) const override {
    const std::optional<std::u32string> points = code_points(name);
    return points && glob_.matches(*points);
  }

 private:
  Glob glob_;
};

class Pattern::RegexMatcher final : public Matcher {
 public:
  explicit RegexMatcher(std::regex regex) : regex_(std::move(regex)) {}

  bool matches(std::string_view name) const override {
    return name.size() <= kMaxRegexName && std::regex_match(name.begin(), name.end(), regex_);
  }

 private:
  std::regex regex_;
};

namespace {

constexpr std::string_view kRegexPrefix = "re:";

// libstdc++ copies the operand of {n} n times, and recurses once for every copy that may be empty.
constexpr uint64_t kMaxRegexSteps = 4096;

// An upper bound of the unfolded length: the pattern's length times all its repetition counts.
uint64_t unfolded_length(std::string_view text) {
  uint64_t length = text.size();
  uint64_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (digit && i > 0 && (text[i - 1] == '{' || text[i - 1] == ',' || count > 0)) {
      count = std::min(count * 10 + static_cast<uint64_t>(text[i] - '0'), kMaxRegexSteps);
    } else {
      length = std::min(length * std::max<uint64_t>(count, 1), kMaxRegexSteps + 1);
      count = 0;
    }
  }
  return length;
}

// std::regex is the only thing here that throws, so its exceptions are caught in this function.
// libstdc++'s default matcher recurses once for every byte of a name and can take exponential time.
// __polynomial makes it follow all alternatives at once, and refuses back-references.
Result<std::regex> compile_regex(const std::string& text) {
  if (unfolded_length(text) > kMaxRegexSteps) {
    return Status(ErrorCode::kInvalidArgument, "its repetition counts are too large");
  }
  try {
    return std::regex(text, std::regex::ECMAScript | std::regex_constants::__polynomial);
  } catch (const std::regex_error& error) {
    return Status(ErrorCode::kInvalidArgument,
                  "not a regular expression: " + std::string(error.what()));
  }
}

// Limits of the search for near names, whose time is their product: at most 0.6 s.
constexpr size_t kMaxComparedBytes = 200;   // of a pattern or name
constexpr size_t kMaxComparedNames = 4096;  // of tensors, and of aliases

// The pattern without escapes, with one kAnyText for each run of wildcards.
std::string comparable(std::string_view text) {
  const bool regex = text.starts_with(kRegexPrefix);
  if (regex) text.remove_prefix(kRegexPrefix.size());
  std::string result;
  for (size_t i = 0; i < text.size() && result.size() < kMaxComparedBytes; ++i) {
    const bool any = text[i] == '*' || (regex && text[i] == '.' && i + 1 < text.size() &&
                                        (text[i + 1] == '*' || text[i + 1] == '+'));
    if (regex && any && text[i] == '.') ++i;
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    if (!any) {
      result.push_back(text[i]);
    } else if (!result.ends_with(kAnyText)) {
      result.push_back(kAnyText);
    }
  }
  return result;
}

}  // namespace

Result<Pattern> Pattern::compile(std::string text) {
  const auto reject = [&](std::string_view why) {
    return Status(ErrorCode::kInvalidArgument, concat("pattern '", escape_name(text), "': ", why));
  };
  if (text.empty()) return reject("it is empty");
  if (text.size() > kMaxPattern) {
    return Status(
        ErrorCode::kInvalidArgument,
        concat("a pattern has ", text.size(), " bytes, at most ", kMaxPattern, " are allowed"));
  }
  const std::optional<std::u32string> points = code_points(text);
  if (!points) return Status(ErrorCode::kInvalidArgument, "a pattern is not UTF-8");
  Pattern pattern;
  if (text.starts_with(kRegexPrefix)) {
    Result<std::regex> regex = compile_regex(text.substr(kRegexPrefix.size()));
    if (!regex.ok()) return reject(regex.status().message());
    pattern.matcher_ = std::make_shared<RegexMatcher>(std::move(*regex));
  } else {
    Result<Glob> glob = Glob::compile(*points);
    if (!glob.ok()) return reject(glob.status().message());
    pattern.matcher_ = std::make_shared<GlobMatcher>(std::move(*glob));
  }
  pattern.text_ = std::move(text);
  return pattern;
}

bool Pattern::matches(std::string_view name) const { return matcher_->matches(name); }

std::vector<std::string> nearest_names(const Pattern& pattern, std::span<const TensorInfo> tensors,
                                       size_t limit, std::span<const TensorAlias> aliases) {
  std::vector<std::string_view> names;
  for (const TensorInfo& tensor : tensors.first(std::min(tensors.size(), kMaxComparedNames))) {
    names.push_back(tensor.name);
  }
  for (const TensorAlias& alias : aliases.first(std::min(aliases.size(), kMaxComparedNames))) {
    names.push_back(alias.name);
  }
  const std::string wanted = comparable(pattern.text());
  std::vector<std::pair<size_t, size_t>> ranked;  // distance, index
  for (size_t i = 0; i < names.size(); ++i) {
    ranked.emplace_back(edit_distance(wanted, names[i].substr(0, kMaxComparedBytes)), i);
  }
  std::sort(ranked.begin(), ranked.end());
  ranked.resize(std::min(ranked.size(), limit));
  std::vector<std::string> nearest;
  for (const auto& [distance, index] : ranked) nearest.emplace_back(names[index]);
  return nearest;
}

}  // namespace winnow
