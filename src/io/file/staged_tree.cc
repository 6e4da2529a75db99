#include "io/file/staged_tree.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/file/leftovers.h"
#include "winnow/base/concat.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/file_name.h"

namespace winnow::io {
namespace {

struct Split {
  std::string_view directory;  // "" for the top
  std::string_view name;
};

Split split(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string joined(std::string_view directory, std::string_view path) {
  if (directory.empty() || path.empty()) return concat(directory, path);
  return concat(directory, "/", path);
}

Status not_a_path(std::string_view path, std::string_view fault) {
  return {ErrorCode::kInvalidArgument,
          concat("\"", escape_path(path), "\" cannot be written to a directory: ", fault)};
}

}  // namespace

Status StagedTree::check_new(std::string_view path) const {
  const auto [directory, name] = split(path);
  // The names before it were checked when its directory was added.
  WINNOW_RETURN_IF_ERROR(check_file_name(name));
  if (path.starts_with('/')) return not_a_path(path, "it starts with a slash");
  if (names_.contains(directory)) return {};
  return not_a_path(path, "its directory was not added before");
}

Status StagedTree::add_file(std::string_view path) {
  WINNOW_RETURN_IF_ERROR(check_new(path));
  if (names_.contains(path)) return not_a_path(path, "it is a directory there");
  const auto [directory, name] = split(path);
  names_.find(directory)->second.emplace(name);
  return {};
}

Status StagedTree::add_directory(std::string_view path) {
  WINNOW_RETURN_IF_ERROR(check_new(path));
  if (std::count(path.begin(), path.end(), '/') >= AtomicDirectory::kMaxDepth) {
    return not_a_path(path, concat("expected at most ", AtomicDirectory::kMaxDepth,
                                   " directories in each other"));
  }
  const auto [directory, name] = split(path);
  if (!names_.find(directory)->second.emplace(name).second) {
    return {ErrorCode::kAlreadyExists, concat("\"", escape_path(path), "\" is there already")};
  }
  names_.emplace(path, Names());
  return {};
}

Status StagedTree::check(Env& env, const std::string& top) const {
  for (const auto& [directory, names] : names_) {
    WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> found,
                            names_in(env, joined(top, directory)));
    const auto [expected, other] =
        std::mismatch(names.begin(), names.end(), found.begin(), found.end());
    if (expected == names.end() && other == found.end()) continue;
    const bool is_missing = other == found.end() || (expected != names.end() && *expected < *other);
    const std::string path = joined(directory, is_missing ? *expected : *other);
    return {ErrorCode::kCheckFailed,
            is_missing ? concat("the file \"", escape_path(path), "\" was not written to it")
                       : concat("found the file \"", escape_path(path),
                                "\", which is not finished or does not belong there")};
  }
  return {};
}

Status StagedTree::sync(Env& env, const std::string& top) const {
  // From the bottom up, so that no name reaches the disk before what it leads to.
  for (auto entry = names_.rbegin(); entry != names_.rend(); ++entry) {
    WINNOW_RETURN_IF_ERROR(env.sync_directory(joined(top, entry->first)));
  }
  return {};
}

}  // namespace winnow::io
