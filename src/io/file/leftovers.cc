#include "io/file/leftovers.h"

#include <cstddef>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

constexpr size_t kMaxNames = size_t{1} << 18;

Status too_many(const std::string& directory) {
  return {ErrorCode::kUnsupportedFile,
          concat("\"", escape_path(directory), "\" has more than ", kMaxNames, " files")};
}

Status not_ours(const std::string& path) {
  return {ErrorCode::kUnsupportedFile,
          concat("\"", escape_path(path),
                 "\" is where winnow keeps files that it is writing, and not one of them: move it "
                 "elsewhere or remove it")};
}

// `left` is how many names there may be. Those of one directory at each level are in memory, so it
// bounds that too.
Status check_tree(Env& env, const std::string& directory, int depth, size_t& left) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(env, directory));
  if (names.size() > left) return too_many(directory);
  left -= names.size();
  for (const std::string& name : names) {
    const std::string path = concat(directory, "/", name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo found, env.link_info(path));
    if (found.kind == FileKind::kRegular) continue;
    if (found.kind != FileKind::kDirectory || depth == AtomicDirectory::kMaxDepth) {
      return not_ours(path);
    }
    WINNOW_RETURN_IF_ERROR(check_tree(env, path, depth + 1, left));
  }
  return {};
}

// Precondition: check_tree, which bounds the depth.
Status remove_checked(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(env, directory));
  for (const std::string& name : names) {
    const std::string path = concat(directory, "/", name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo found, env.link_info(path));
    WINNOW_RETURN_IF_ERROR(found.kind == FileKind::kDirectory ? remove_checked(env, path)
                                                              : env.remove(path));
  }
  return env.remove_directory(directory);
}

}  // namespace

Result<std::vector<std::string>> names_in(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(std::vector<std::string> names,
                          env.list_directory(directory, kMaxNames + 1));
  if (names.size() <= kMaxNames) return names;
  return too_many(directory);
}

Status remove_files(Env& env, const std::string& directory, std::span<const std::string> names) {
  for (const std::string& name : names) {
    const std::string path = concat(directory, "/", name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo found, env.link_info(path));
    if (found.kind != FileKind::kRegular) return not_ours(path);
  }
  for (const std::string& name : names) {
    WINNOW_RETURN_IF_ERROR(env.remove(concat(directory, "/", name)));
  }
  return {};
}

Status remove_tree(Env& env, const std::string& directory) {
  size_t left = kMaxNames;
  WINNOW_RETURN_IF_ERROR(check_tree(env, directory, 0, left));
  return remove_checked(env, directory);
}

}  // namespace winnow::io
