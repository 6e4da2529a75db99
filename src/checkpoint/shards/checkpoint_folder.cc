#include "checkpoint/shards/checkpoint_folder.h"

#include <algorithm>
#include <iterator>

#include "base/status_macros.h"
#include "checkpoint/shards/shard_index.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {
namespace {

constexpr size_t kMaxNames = size_t{1} << 18;  // more than any checkpoint's folder has
constexpr size_t kNamesInMessage = 4;

// Ends of the names of files that hold weights, or list those that do.
constexpr std::string_view kWeightSuffixes[] = {
    kFileSuffix, ".index.json", ".bin",  ".pt",  ".pth",  ".ckpt", ".gguf",
    ".h5",       ".msgpack",    ".onnx", ".npz", ".ggml", ".keras"};

Result<std::vector<std::string>> names_in(Env& env, const std::string& directory) {
  Result<std::vector<std::string>> names = env.list_directory(directory, kMaxNames + 1);
  if (!names.ok() || names->size() <= kMaxNames) return names;
  return Status(ErrorCode::kUnsupportedFile, concat(escape_path(directory), ": has more than ",
                                                    kMaxNames, " files, expected a checkpoint's"));
}

std::vector<std::string> ending_in(const std::vector<std::string>& names, std::string_view suffix) {
  std::vector<std::string> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found), [&](std::string_view name) {
    return name.ends_with(suffix) && !name.starts_with('.');
  });
  return found;
}

// "'a', 'b' and 3 more".
std::string list_of(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names.first(std::min(names.size(), kNamesInMessage))) {
    text += concat(text.empty() ? "" : ", ", in_quotes(name));
  }
  if (names.size() <= kNamesInMessage) return text;
  return concat(text, " and ", names.size() - kNamesInMessage, " more");
}

Status ambiguous(const std::string& directory, std::span<const std::string> found) {
  return {ShardError::kAmbiguousFolder,
          concat(escape_path(directory), ": expected a folder with one checkpoint, found ",
                 list_of(found), ": name the file to take instead of the folder")};
}

// The single file that loaders prefer to the index, or the reverse: NAME.safetensors beside
// NAME.safetensors.index.json.
std::string file_beside(const std::string& index) {
  const size_t stem = index.size() - kIndexSuffix.size();
  return index.substr(0, stem).append(kFileSuffix);
}

// Whether the index names the file, so that it is no checkpoint of its own.
bool is_shard_of(Env& env, const std::string& directory, const std::string& index,
                 const std::string& file) {
  const Result<ShardIndex> parsed = read_shard_index(env, path_in(directory, index));
  return parsed.ok() && std::binary_search(parsed->shards.begin(), parsed->shards.end(), file);
}

bool holds_weights(std::string_view name) noexcept {
  return std::any_of(std::begin(kWeightSuffixes), std::end(kWeightSuffixes),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

bool holds_nothing(Env& env, const std::string& path) {
  if (!path.ends_with(kFileSuffix)) return false;
  const Result<SafetensorsFile> file = SafetensorsFile::open(env, path);
  return file.ok() && file->header().tensors().empty();
}

}  // namespace

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string path_in(const std::string& directory, const std::string& name) {
  return directory.ends_with('/') ? directory + name : concat(directory, "/", name);
}

Result<std::string> find_checkpoint(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(env, directory));
  const std::vector<std::string> indexes = ending_in(names, kIndexSuffix);
  const std::vector<std::string> files = ending_in(names, kFileSuffix);
  if (indexes.size() > 1) return ambiguous(directory, indexes);
  if (indexes.size() == 1) {
    const std::string file = file_beside(indexes[0]);
    const bool is_there = std::binary_search(files.begin(), files.end(), file);
    if (!is_there || is_shard_of(env, directory, indexes[0], file)) return indexes[0];
    return ambiguous(directory, std::vector<std::string>{file, indexes[0]});
  }
  if (files.size() == 1) return files[0];
  if (files.size() > 1) return ambiguous(directory, files);
  return Status(ErrorCode::kUnsupportedFile,
                concat(escape_path(directory), ": expected a file, or a folder with a ",
                       kFileSuffix, " or ", kIndexSuffix, " file, found a folder without"));
}

Result<Companions> companions_of(Env& env, const std::string& directory,
                                 std::span<const std::string> own) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(env, directory));
  Companions companions;
  for (const std::string& name : names) {
    if (name.starts_with('.') || std::find(own.begin(), own.end(), name) != own.end()) continue;
    const std::string path = path_in(directory, name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
    const bool is_carried =
        info.kind == FileKind::kRegular && (!holds_weights(name) || holds_nothing(env, path));
    (is_carried ? companions.carried : companions.left_out).push_back(name);
  }
  return companions;
}

}  // namespace winnow::checkpoint
