#include "checkpoint/shards/checkpoint_folder.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/shards/shard_index.h"
#include "winnow/base/concat.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/file_name.h"
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

class CompanionSearch {
 public:
  CompanionSearch(Env& env, const std::string& top, std::span<const std::string> own,
                  const FileInfo& output)
      : env_(env), top_(top), own_(own), output_(output) {}

  Result<Companions> find();

 private:
  Status look_at(const std::string& path, const std::string& name);
  Status look_into(const std::string& path);
  bool is_output(const FileInfo& info) const {
    return output_.kind == FileKind::kDirectory && output_.identity.same_file(info.identity);
  }

  Env& env_;
  const std::string& top_;
  std::span<const std::string> own_;
  const FileInfo& output_;
  size_t nested_names_ = 0;
  Companions found_;
};

Result<Companions> CompanionSearch::find() {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(env_, top_));
  for (const std::string& name : names) {
    if (std::find(own_.begin(), own_.end(), name) != own_.end()) continue;
    WINNOW_RETURN_IF_ERROR(look_at(name, name));
  }
  // A directory's files were found before its neighbours, which may sort before a slash.
  for (auto* list : {&found_.directories, &found_.carried, &found_.left_out}) {
    std::sort(list->begin(), list->end());
  }
  return std::move(found_);
}

// `path` is from the top, and `name` its last part.
Status CompanionSearch::look_at(const std::string& path, const std::string& name) {
  if (is_working_name(name)) return {};
  const std::string whole = path_in(top_, path);
  WINNOW_ASSIGN_OR_RETURN(const FileInfo link, env_.link_info(whole));
  const bool is_hidden = name.starts_with('.');
  // Links to directories are not followed: they may lead back up, or to all of a disk.
  if (!is_hidden && link.kind == FileKind::kDirectory && !is_output(link)) return look_into(path);
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env_.info(whole));
  const bool is_carried = !is_hidden && info.kind == FileKind::kRegular &&
                          (!holds_weights(name) || holds_nothing(env_, whole));
  (is_carried ? found_.carried : found_.left_out).push_back(path);
  return {};
}

Status CompanionSearch::look_into(const std::string& path) {
  const std::string whole = path_in(top_, path);
  if (std::count(path.begin(), path.end(), '/') >= AtomicDirectory::kMaxDepth) {
    return {ErrorCode::kUnsupportedFile,
            concat(escape_path(whole), ": expected at most ", AtomicDirectory::kMaxDepth,
                   " subdirectories in each other beside a checkpoint; move it elsewhere")};
  }
  found_.directories.push_back(path);
  const size_t room = kMaxNestedNames - nested_names_;
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          env_.list_directory(whole, room + 1));
  if (names.size() > room) {
    return {ErrorCode::kUnsupportedFile,
            concat(escape_path(top_), ": expected at most ", kMaxNestedNames,
                   " files in the subdirectories beside a checkpoint, found more up to \"",
                   escape_path(path), "\"; move some elsewhere")};
  }
  nested_names_ += names.size();
  for (const std::string& name : names) WINNOW_RETURN_IF_ERROR(look_at(path_in(path, name), name));
  return {};
}

}  // namespace

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
                                 std::span<const std::string> own, const std::string& output) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo output_info, env.info(output));
  CompanionSearch search(env, directory, own, output_info);
  return search.find();
}

}  // namespace winnow::checkpoint
