#include "checkpoint/bitmask/bitmask_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/bitmask/json_entries.h"
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

// Error: the key stands there twice.
Result<std::optional<size_t>> find_key(std::span<const JsonEntry> entries, std::string_view key) {
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

Status erase_sparsity_config(std::string_view key, std::string& text) {
  const std::vector<JsonEntry> top = json_entries(text);
  WINNOW_ASSIGN_OR_RETURN(const std::optional<size_t> config, find_key(top, key));
  if (!config || text[top[*config].value] != '{') return Status();
  const std::vector<JsonEntry> entries = json_entries(text, top[*config].value);
  WINNOW_ASSIGN_OR_RETURN(const std::optional<size_t> sparsity, find_key(entries, kSparsityKey));
  if (!sparsity) return Status();
  const JsonEntry& entry = entries[*sparsity];
  WINNOW_RETURN_IF_ERROR(
      check_format(std::string_view(text).substr(entry.value, entry.end - entry.value)));
  text = edit_entries(text, entries, [&](const JsonEntry& other) -> std::optional<std::string> {
    if (&other == &entry) return std::nullopt;
    return other.text_in(text);
  });
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
  if (text[text.find_first_not_of(" \t\r\n")] != '{')
    return config_fault("expected a JSON object at the top");
  std::string result(text);
  for (const std::string_view key : {"quantization_config", "compression_config"}) {
    WINNOW_RETURN_IF_ERROR(erase_sparsity_config(key, result));
  }
  return result;
}

}  // namespace winnow::checkpoint
