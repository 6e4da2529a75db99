#include "io/file/leftovers.h"

#include <cstddef>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

constexpr size_t kMaxNames = size_t{1} << 18;

}  // namespace

Result<std::vector<std::string>> names_in(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(std::vector<std::string> names,
                          env.list_directory(directory, kMaxNames + 1));
  if (names.size() <= kMaxNames) return names;
  return Status(ErrorCode::kUnsupportedFile,
                concat("\"", escape_path(directory), "\" has more than ", kMaxNames, " files"));
}

Status remove_files(Env& env, const std::string& directory, std::span<const std::string> names) {
  for (const std::string& name : names) {
    const std::string path = concat(directory, "/", name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo found, env.link_info(path));
    if (found.kind == FileKind::kRegular) continue;
    return {
        ErrorCode::kUnsupportedFile,
        concat("\"", escape_path(path),
               "\" is where winnow keeps files that it is writing, and not one of them: move it "
               "elsewhere or remove it")};
  }
  for (const std::string& name : names) {
    WINNOW_RETURN_IF_ERROR(env.remove(concat(directory, "/", name)));
  }
  return {};
}

}  // namespace winnow::io
