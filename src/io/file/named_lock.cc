#include "io/file/named_lock.h"

#include <utility>

#include "base/status_macros.h"

namespace winnow::io {

Result<std::unique_ptr<FileLock>> lock_named(Env& env, const std::string& path, FileKind kind) {
  std::unique_ptr<FileLock> none;
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, kind == FileKind::kDirectory
                                                              ? env.try_lock_directory(path)
                                                              : env.try_lock(path));
  if (lock == nullptr) return none;
  WINNOW_ASSIGN_OR_RETURN(const FileInfo named, env.link_info(path));
  // The lock is on what was opened; the name may belong to another one by now.
  const bool same = named.kind == kind && named.identity.same_file(lock->file());
  return same ? std::move(lock) : std::move(none);
}

}  // namespace winnow::io
