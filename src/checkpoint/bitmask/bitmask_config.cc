// The text is edited, not written anew: numbers would be rounded and spaces lost. nlohmann_json
// checks the whole first, so the scanner below sees valid JSON only and needs no checks of its own.
#include "checkpoint/bitmask/bitmask_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/sparse/error_codes.h"

namespace winnow::checkpoint {
namespace {

constexpr std::string_view kSparsityKey = "sparsity_config";
constexpr std::string_view kFormats[] = {"sparse-bitmask", "sparse-24-bitmask", "dense"};

Status config_fault(std::string message) {
  return Status(BitmaskError::kSparsityConfig, std::move(message));
}

// An entry of an object: `begin` is where its key begins.
struct Entry {
  std::string key;  // escapes resolved
  size_t begin, value, end;
};

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

// The entries of the object that begins at `at`.
std::vector<Entry> entries_of(std::string_view text, size_t at) {
  std::vector<Entry> entries;
  at = skip_spaces(text, at + 1);
  while (text[at] != '}') {
    const size_t key_end = end_of_string(text, at), colon = skip_spaces(text, key_end);
    const size_t value = skip_spaces(text, colon + 1), end = end_of_value(text, value);
    const auto key = nlohmann::json::parse(text.substr(at, key_end - at));
    entries.push_back({key.get<std::string>(), at, value, end});
    at = skip_spaces(text, end);
    if (text[at] == ',') at = skip_spaces(text, at + 1);
  }
  return entries;
}

// Error: the key stands there twice.
Result<std::optional<size_t>> find_key(std::span<const Entry> entries, std::string_view key) {
  std::optional<size_t> found;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].key != key) continue;
    if (found) return config_fault(concat("expected the key '", key, "' once, found it twice"));
    found = i;
  }
  return found;
}

// Weights of other formats stay as they are, and so must what is said of them.
Status check_format(std::string_view value) {
  const auto config = nlohmann::json::parse(value);
  if (!config.is_object() || !config.contains("format")) return Status();
  const auto& format = config["format"];
  const std::string name = format.is_string() ? format.get<std::string>() : format.dump();
  if (std::find(std::begin(kFormats), std::end(kFormats), name) != std::end(kFormats)) {
    return Status();
  }
  return config_fault(concat(kSparsityKey, ": expected the format ", kFormats[0], ", ", kFormats[1],
                             " or ", kFormats[2], ", found '", escape_name(name), "'"));
}

// Takes an entry out, and one of the commas beside it.
void erase_entry(std::span<const Entry> entries, size_t index, std::string& text) {
  size_t begin = entries[index].begin, end = entries[index].end;
  if (index > 0) {
    begin = entries[index - 1].end;
  } else if (entries.size() > 1) {
    end = entries[1].begin;
  }
  text.erase(begin, end - begin);
}

Status erase_sparsity_config(std::string_view key, std::string& text) {
  const std::vector<Entry> top = entries_of(text, skip_spaces(text, 0));
  WINNOW_ASSIGN_OR_RETURN(const std::optional<size_t> config, find_key(top, key));
  if (!config || text[top[*config].value] != '{') return Status();
  const std::vector<Entry> entries = entries_of(text, top[*config].value);
  WINNOW_ASSIGN_OR_RETURN(const std::optional<size_t> sparsity, find_key(entries, kSparsityKey));
  if (!sparsity) return Status();
  const Entry& entry = entries[*sparsity];
  WINNOW_RETURN_IF_ERROR(
      check_format(std::string_view(text).substr(entry.value, entry.end - entry.value)));
  erase_entry(entries, *sparsity, text);
  return Status();
}

}  // namespace

Result<std::string> without_sparsity_config(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return config_fault(
        concat("expected at most ", kMaxConfigBytes, " bytes, found ", text.size()));
  }
  // To the library a NUL is the end.
  const bool is_json = text.find('\0') == text.npos && nlohmann::json::accept(text);
  if (!is_json) return config_fault("expected JSON, found other text");
  if (text[skip_spaces(text, 0)] != '{') return config_fault("expected a JSON object at the top");
  std::string result(text);
  for (const std::string_view key : {"quantization_config", "compression_config"}) {
    WINNOW_RETURN_IF_ERROR(erase_sparsity_config(key, result));
  }
  return result;
}

}  // namespace winnow::checkpoint
