#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/file/errno_status.h"
#include "io/file/posix_file.h"
#include "io/file/transfer.h"
#include "winnow/base/concat.h"
#include "winnow/io/env.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace io {

Status rename_by_link(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) != 0) return errno_status("create", to, errno);
  // The file is in place now. If its old name stays, the next writer removes that.
  ::unlink(from.c_str());
  return {};
}

namespace {

// Without O_NONBLOCK a FIFO would block the open; O_NOCTTY: a terminal must not become ours.
constexpr int kSafeOpen = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

// If a program was started with a standard stream closed (2>&-, a daemon), the system would give
// its number to the next file, and what anyone writes to that stream would go into the file.
int keep_off_standard_streams(UniqueFd& fd) {
  if (fd.get() > STDERR_FILENO) return 0;
  const int moved = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (moved < 0) return errno;
  fd = UniqueFd(moved);
  return 0;
}

Result<UniqueFd> open_path(const std::string& path, int flags, uint32_t mode,
                           std::string_view action) {
  int fd = -1;
  int error = call_uninterrupted([&] { return fd = ::open(path.c_str(), flags, mode); });
  if (error != 0) return errno_status(action, path, error);
  UniqueFd out(fd);
  error = keep_off_standard_streams(out);
  if (error == 0) return out;
  if ((flags & O_EXCL) != 0) ::unlink(path.c_str());  // it was made by this call
  return errno_status(action, path, error);
}

std::string_view kind_name(FileKind kind) noexcept {
  if (kind == FileKind::kDirectory) return "a directory";
  return kind == FileKind::kSymlink ? "a symbolic link" : "a FIFO, socket or device";
}

// Takes the lock of the open file or directory; null if another holder has it.
Result<std::unique_ptr<FileLock>> lock_open(UniqueFd fd, const std::string& path) {
  const int error = call_uninterrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); });
  if (error == EWOULDBLOCK) return std::unique_ptr<FileLock>();
  if (error != 0) return errno_status("lock", path, error);
  struct ::stat status = {};
  if (::fstat(fd.get(), &status) != 0) return errno_status("examine", path, errno);
  const FileIdentity locked = file_info(status).identity;
  return std::unique_ptr<FileLock>(new PosixFileLock(std::move(fd), locked));
}

Status rename_error(const std::string& to, int error) {
  const Status status = errno_status("create", to, error);
  // The system may say that a directory is there by either number.
  if (error != ENOTEMPTY) return status;
  return {ErrorCode::kAlreadyExists, std::string(status.message()), error};
}

Status rename_by_name(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? Status() : rename_error(to, errno);
}

// Without renameat2's flag. What comes in between is replaced only if it is an empty directory.
Status rename_new_directory(const std::string& from, const std::string& to) {
  struct ::stat status = {};
  if (::lstat(to.c_str(), &status) == 0) return errno_status("create", to, EEXIST);
  return rename_by_name(from, to);
}

bool is_directory(const std::string& path) {
  struct ::stat status = {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

Result<FileInfo> examined(int result, const struct ::stat& status, const std::string& path) {
  if (result == 0) return file_info(status);
  if (errno == ENOENT) return FileInfo{};  // kMissing: an answer, not an error
  return errno_status("examine", path, errno);
}

class PosixEnv final : public Env {
 public:
  Result<FileInfo> info(const std::string& path) override {
    struct ::stat status = {};
    const int result = ::stat(path.c_str(), &status);
    return examined(result, status, path);
  }

  Result<FileInfo> link_info(const std::string& path) override {
    struct ::stat status = {};
    const int result = ::lstat(path.c_str(), &status);
    return examined(result, status, path);
  }

  Result<std::string> resolve(const std::string& path) override {
    const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr),
                                                          &std::free);
    if (resolved == nullptr) return errno_status("resolve", path, errno);
    return std::string(resolved.get());
  }

  Status check_writable(const std::string& path) override {
    // By the rights that open(2) goes by; access(2) would ask for those of the real user.
    if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0) return {};
    return errno_status("write to", path, errno);
  }

  Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) override;
  Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                         uint32_t mode) override;
  Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) override;
  Result<std::vector<std::string>> list_directory(const std::string& path,
                                                  size_t max_names) override;
  Result<std::unique_ptr<FileLock>> try_lock_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to, IfExists if_exists) override;

  Status create_directory(const std::string& path, uint32_t mode) override {
    if (::mkdir(path.c_str(), mode) == 0) return {};
    return errno_status("create the directory", path, errno);
  }

  Status remove(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? Status() : errno_status("remove", path, errno);
  }

  Status remove_directory(const std::string& path) override {
    if (::rmdir(path.c_str()) == 0) return {};
    // The system may answer EEXIST, which is no name that is taken here.
    return errno_status("remove the directory", path, errno == EEXIST ? ENOTEMPTY : errno);
  }

  Status sync_directory(const std::string& path) override {
    // A rename is durable only when its directory is.
    WINNOW_ASSIGN_OR_RETURN(const UniqueFd fd,
                            open_path(path, kOpenDirectory, 0, "open the directory"));
    const int error = call_uninterrupted([&] { return ::fsync(fd.get()); });
    return error == 0 ? Status() : errno_status("sync the directory", path, error);
  }
};

// Looks before it opens: opening a device may have effects of its own. Looks again afterwards,
// since the path may have come to name something else in between.
Result<std::unique_ptr<RandomAccessFile>> PosixEnv::open_for_read(const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo before, info(path));
  if (before.kind == FileKind::kMissing) {
    WINNOW_ASSIGN_OR_RETURN(const FileInfo link, link_info(path));
    if (link.kind == FileKind::kSymlink) {
      return unsupported_file(path, "a symbolic link that leads nowhere");
    }
    return errno_status("open", path, ENOENT);
  }
  if (before.kind != FileKind::kRegular) return unsupported_file(path, kind_name(before.kind));
  WINNOW_ASSIGN_OR_RETURN(UniqueFd fd, open_path(path, O_RDONLY | kSafeOpen, 0, "open"));
  struct ::stat status = {};
  if (::fstat(fd.get(), &status) != 0) return errno_status("examine", path, errno);
  if (!S_ISREG(status.st_mode)) return unsupported_file(path, "no longer what it was");
  return std::unique_ptr<RandomAccessFile>(new PosixRandomAccessFile(std::move(fd), path));
}

Result<std::unique_ptr<WritableFile>> PosixEnv::create_exclusive(const std::string& path,
                                                                 uint32_t mode) {
  // O_EXCL also refuses a symbolic link, even one that leads nowhere.
  WINNOW_ASSIGN_OR_RETURN(UniqueFd fd,
                          open_path(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode, "create"));
  return std::unique_ptr<WritableFile>(new PosixWritableFile(std::move(fd), path));
}

// Opened for writing although nothing is written: NFS grants no exclusive lock otherwise.
Result<std::unique_ptr<FileLock>> PosixEnv::try_lock(const std::string& path) {
  std::unique_ptr<FileLock> none;
  WINNOW_ASSIGN_OR_RETURN(const FileInfo before, link_info(path));
  if (before.kind == FileKind::kMissing) return none;
  if (before.kind != FileKind::kRegular) return unsupported_file(path, kind_name(before.kind));
  WINNOW_ASSIGN_OR_RETURN(UniqueFd fd, open_path(path, O_RDWR | O_NOFOLLOW | kSafeOpen, 0, "lock"));
  return lock_open(std::move(fd), path);
}

// Opened for reading, since directories cannot be opened for writing.
Result<std::unique_ptr<FileLock>> PosixEnv::try_lock_directory(const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo before, link_info(path));
  if (before.kind == FileKind::kMissing) return std::unique_ptr<FileLock>();
  if (before.kind != FileKind::kDirectory) {
    return Status(ErrorCode::kUnsupportedFile,
                  concat("\"", escape_path(path), "\" is not a directory"));
  }
  WINNOW_ASSIGN_OR_RETURN(UniqueFd fd, open_path(path, kOpenDirectory | O_NOFOLLOW, 0, "lock"));
  return lock_open(std::move(fd), path);
}

Result<std::vector<std::string>> PosixEnv::list_directory(const std::string& path,
                                                          size_t max_names) {
  WINNOW_ASSIGN_OR_RETURN(UniqueFd fd, open_path(path, kOpenDirectory, 0, "open the directory"));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), &::closedir);
  if (stream == nullptr) return errno_status("list the directory", path, errno);
  fd.release();  // the stream closes it
  std::vector<std::string> names;
  while (names.size() < max_names) {
    errno = 0;  // the end is null too
    const struct ::dirent* entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) return errno_status("list the directory", path, errno);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status PosixEnv::rename(const std::string& from, const std::string& to, IfExists if_exists) {
  const unsigned flags = if_exists == IfExists::kFail ? RENAME_NOREPLACE : 0;
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return {};
  // The file system does not know the flag, or the kernel not the call.
  const bool unsupported = errno == EINVAL || errno == ENOSYS;
  if (!unsupported) return rename_error(to, errno);
  if (if_exists == IfExists::kFail) {
    return is_directory(from) ? rename_new_directory(from, to) : rename_by_link(from, to);
  }
  return rename_by_name(from, to);
}

}  // namespace
}  // namespace io

Env& Env::posix() {
  static io::PosixEnv env;
  return env;
}

void ignore_write_signals() noexcept {
  // A write fails with EFBIG or EPIPE then, instead of ending the process.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace winnow
