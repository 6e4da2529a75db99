#include "checkpoint/bitmask/json_entries.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace winnow::checkpoint {
namespace {

size_t skip_spaces(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(" \t\r\n", at), text.size());
}

size_t end_of_string(std::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at) at += text[at] == '\\';
  return at + 1;
}

size_t end_of_value(std::string_view text, size_t at) {
  if (text[at] == '"') return end_of_string(text, at);
  if (text[at] != '{' && text[at] != '[') return text.find_first_of(",]} \t\r\n", at);
  size_t depth = 0;
  do {
    if (text[at] == '"') {
      at = end_of_string(text, at);
      continue;
    }
    depth += text[at] == '{' || text[at] == '[';
    depth -= text[at] == '}' || text[at] == ']';
    ++at;
  } while (depth > 0);
  return at;
}

}  // namespace

std::vector<JsonEntry> json_entries(std::string_view text) {
  return json_entries(text, skip_spaces(text, 0));
}

std::vector<JsonEntry> json_entries(std::string_view text, size_t at) {
  std::vector<JsonEntry> entries;
  at = skip_spaces(text, at + 1);
  while (text[at] != '}') {
    const size_t key_end = end_of_string(text, at), colon = skip_spaces(text, key_end);
    const size_t value = skip_spaces(text, colon + 1), end = end_of_value(text, value);
    const auto key = nlohmann::json::parse(text.substr(at, key_end - at));
    entries.push_back({key.get<std::string>(), at, key_end, value, end});
    at = skip_spaces(text, end);
    if (text[at] == ',') at = skip_spaces(text, at + 1);
  }
  return entries;
}

std::string edit_entries(std::string_view text, std::span<const JsonEntry> entries,
                         const std::function<std::optional<std::string>(const JsonEntry&)>& edit) {
  if (entries.empty()) return std::string(text);
  std::string result(text.substr(0, entries.front().begin));
  bool is_first = true;
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::optional<std::string> edited = edit(entries[i]);
    if (!edited) continue;
    // What stands before an entry goes with it: spaces and one comma.
    if (!is_first) {
      const size_t before = entries[i - 1].end;
      result += text.substr(before, entries[i].begin - before);
    }
    is_first = false;
    result += *edited;
  }
  return result.append(text.substr(entries.back().end));
}

}  // namespace winnow::checkpoint
