// A pattern, a newline and a name: globs have to agree with fnmatch(3), and no pattern may do harm.
//
//   python3 fuzz/glob_seeds.py seeds
//   glob_fuzzer -dict=fuzz/glob_fuzzer.dict -timeout=5 corpus seeds
#include <fnmatch.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/patterns/glob.h"
#include "winnow/checkpoint/tensor_patterns.h"

namespace {

using winnow::Pattern;
using winnow::Result;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_message(const winnow::Status& status) {
  require(status.code() == winnow::ErrorCode::kInvalidArgument && !status.message().empty());
  for (const char c : status.message()) require(static_cast<uint8_t>(c) >= 0x20);
}

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0; });
}

// Whether fnmatch reads the pattern as we do: bytes and characters are the same, and there are no
// collating symbols, which ours has not.
bool has_reference(const std::string& pattern, std::string_view name) {
  return !pattern.starts_with("re:") && is_plain(pattern) && is_plain(name) &&
         pattern.find("[.") == std::string::npos && pattern.find("[=") == std::string::npos;
}

// The name with every character escaped matches that name alone.
void check_escaped(std::string_view name) {
  if (name.empty() || name.size() > Pattern::kMaxPattern / 2 ||
      !winnow::checkpoint::code_points(name))
    return;
  std::string escaped;
  for (const char c : name) {
    if (static_cast<uint8_t>(c) < 0x80) escaped += '\\';
    escaped += c;
  }
  const Result<Pattern> pattern = Pattern::compile(escaped);
  require(pattern.ok() && pattern->matches(name));
  require(!pattern->matches(std::string(name) + "x"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t newline = std::min(input.find('\n'), size);
  const std::string text(input.substr(0, newline));
  const std::string name(input.substr(std::min(newline + 1, size)));
  check_escaped(name);
  const Result<Pattern> pattern = Pattern::compile(text);
  if (!pattern.ok()) {
    check_message(pattern.status());
    return 0;
  }
  require(pattern->text() == text);
  const bool matches = pattern->matches(name);
  if (has_reference(text, name)) {
    require(matches == (fnmatch(text.c_str(), name.c_str(), 0) == 0));
  }
  const std::vector<winnow::TensorInfo> tensors(2, {name, winnow::DType::kF32, {1}, 0, 4});
  require(winnow::nearest_names(*pattern, tensors, 1) == std::vector<std::string>{name});
  return 0;
}
