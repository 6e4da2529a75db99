#include "checkpoint/bitmask/dense_folder.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/bitmask/bitmask_config.h"
#include "checkpoint/bitmask/json_entries.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "checkpoint/shards/shard_index.h"
#include "winnow/base/concat.h"
#include "winnow/io/input_file.h"

namespace winnow::checkpoint {
namespace {

constexpr char kConfigName[] = "config.json";

// What an index says instead of the name of a part; nothing: the weight, which another part says.
using PartNames = std::map<std::string, std::optional<std::string>>;

Status add_config(Env& env, const std::string& directory, std::vector<RewrittenFile>& files) {
  const std::string path = path_in(directory, kConfigName);
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
  if (info.kind != FileKind::kRegular) return Status();
  WINNOW_ASSIGN_OR_RETURN(const InputFile file, InputFile::open(env, path));
  // One byte more than allowed is enough for the check.
  WINNOW_ASSIGN_OR_RETURN(const std::string text, file.read_front(kMaxConfigBytes + 1));
  Result<std::string> dense = without_sparsity_config(text);
  if (!dense.ok()) return file.named(dense.status());
  if (*dense != text) files.push_back({kConfigName, std::move(*dense)});
  return Status();
}

// The parts of all weights that the index does not list by their own names.
PartNames listed_parts(const CheckpointReader& input, const ShardIndex& index) {
  PartNames names;
  for (size_t i = 0; i < input.tensors().size(); ++i) {
    const std::string& weight = input.tensors()[i].name;
    const std::vector<std::string> parts = input.part_names(i);
    if (parts.empty() || index.find(weight) != nullptr) continue;
    for (const std::string& part : parts) names.emplace(part, std::nullopt);
    names[parts.front()] = weight;
  }
  return names;
}

// What `edit` makes of the text for the entry `key`; without such an entry, the text as it is.
template <typename Edit>
std::string with_value(const std::string& text, std::span<const JsonEntry> entries,
                       std::string_view key, const Edit& edit) {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const JsonEntry& entry) { return entry.key == key; });
  return found == entries.end() ? text : edit(*found);
}

std::string with_weights(const std::string& text, const PartNames& parts) {
  const auto edit = [&](const JsonEntry& entry) -> std::optional<std::string> {
    const auto part = parts.find(entry.key);
    if (part == parts.end()) return entry.text_in(text);
    if (!part->second) return std::nullopt;
    return nlohmann::json(*part->second).dump() +
           text.substr(entry.key_end, entry.end - entry.key_end);
  };
  return with_value(text, json_entries(text), "weight_map", [&](const JsonEntry& map) {
    return edit_entries(text, json_entries(text, map.value), edit);
  });
}

std::string with_total_size(const std::string& text, uint64_t bytes) {
  const auto replace = [&](const JsonEntry& size) {
    const char* const quote = text[size.value] == '"' ? "\"" : "";
    return text.substr(0, size.value) + concat(quote, bytes, quote) + text.substr(size.end);
  };
  return with_value(text, json_entries(text), "metadata", [&](const JsonEntry& metadata) {
    if (text[metadata.value] != '{') return text;  // null
    return with_value(text, json_entries(text, metadata.value), "total_size", replace);
  });
}

Status add_index(Env& env, const CheckpointReader& input, const ShardSet& set,
                 std::vector<RewrittenFile>& files) {
  WINNOW_ASSIGN_OR_RETURN(const InputFile file,
                          InputFile::open(env, path_in(set.directory, set.index)));
  if (!input.reads(file.identity())) {
    return file.named(Status(ErrorCode::kInputChanged, "replaced while it was read"));
  }
  WINNOW_ASSIGN_OR_RETURN(const std::string text, file.read_front(kMaxIndexBytes + 1));
  // Once more: what follows trusts the text.
  const Result<ShardIndex> index = parse_shard_index(text);
  if (!index.ok()) return file.named(index.status());
  const PartNames parts = listed_parts(input, *index);
  if (parts.empty()) return Status();
  files.push_back({set.index, with_total_size(with_weights(text, parts), input.data_bytes())});
  return Status();
}

bool has_parts(const CheckpointReader& input) {
  for (size_t i = 0; i < input.tensors().size(); ++i) {
    if (!input.part_names(i).empty()) return true;
  }
  return false;
}

}  // namespace

Result<std::vector<RewrittenFile>> rewritten_files(Env& env, const CheckpointReader& input,
                                                   const ShardSet& set) {
  std::vector<RewrittenFile> files;
  if (!has_parts(input)) return files;
  WINNOW_RETURN_IF_ERROR(add_config(env, set.directory, files));
  if (!set.index.empty()) WINNOW_RETURN_IF_ERROR(add_index(env, input, set, files));
  return files;
}

}  // namespace winnow::checkpoint
