// The operating system as the readers and writers see it: one small interface, so that tests can
// make every single call fail in turn.
//
// Every error of the system is kIoError; its message names the action, the path and errno's text.
// Where a caller has to tell a refusal from a failure, the function says which code it gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/status.h"

namespace winnow {

/// What tells one file, and one state of a file, from another.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  bool same_file(const FileIdentity& other) const noexcept {
    return device == other.device && inode == other.inode;
  }
  bool operator==(const FileIdentity&) const = default;
};

/// What a path names. kOther: a FIFO, socket or device.
enum class FileKind : uint8_t { kMissing, kRegular, kDirectory, kSymlink, kOther };

struct FileInfo {
  FileKind kind = FileKind::kMissing;
  FileIdentity identity;
  uint32_t mode = 0;  ///< permission bits, 07777
  uint32_t owner = 0;
  uint32_t group = 0;
};

/// An owner or group that stays as it is.
inline constexpr uint32_t kKeepOwner = UINT32_MAX;

/// What happens to a file that already has the new name.
enum class IfExists : uint8_t { kReplace, kFail };

/// An open file that is read at offsets. Thread-safe.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  /// Reads up to out.size() bytes from `offset`; returns how many, fewer only at the end of the
  /// file.
  virtual Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const = 0;

  /// The file's identity now (fstat).
  virtual Result<FileIdentity> identity() const = 0;
};

/// A file that is written from front to back. Not thread-safe. Destroying it closes it, errors
/// lost.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  /// Reserves disk space, so that a full disk shows before anything is written. Ok where the file
  /// system cannot reserve. What was reserved and not written is given back by `sync`.
  virtual Status reserve(uint64_t bytes) = 0;

  /// Writes all of `data` at the end; interrupted and short writes are continued.
  virtual Status append(std::span<const std::byte> data) = 0;

  virtual Status set_mode(uint32_t mode) = 0;

  /// Gives the file to that owner and group, either kKeepOwner for no change; false where the
  /// caller has no right to. May clear the set-id bits of the mode.
  virtual Result<bool> set_owner(uint32_t owner, uint32_t group) = 0;

  /// Copies the extended attributes (access control lists among them) of the file at `path`, as far
  /// as both file systems and the caller's rights allow.
  virtual Status copy_attributes(const std::string& path) = 0;

  /// The file's identity now (fstat).
  virtual Result<FileIdentity> identity() const = 0;

  /// Returns once the data is on the disk (fsync).
  virtual Status sync() = 0;

  /// Closes; later calls fail. Errors that the file system kept for the close are reported.
  virtual Status close() = 0;
};

/// An advisory lock (flock), held until destroyed or until the process ends, however it ends.
class FileLock {
 public:
  virtual ~FileLock() = default;

  /// The file that is locked: a path may come to name another one.
  virtual const FileIdentity& file() const noexcept = 0;
};

/// The system calls. Implementations are thread-safe and live longer than the files they open.
class Env {
 public:
  virtual ~Env() = default;

  /// The real system. No file gets the descriptors 0 to 2, whether or not they are free, so that
  /// nothing that is printed can land in it.
  static Env& posix();

  /// What `path` names; a symbolic link is followed, and one that leads nowhere is kMissing.
  virtual Result<FileInfo> info(const std::string& path) = 0;

  /// What `path` names; a symbolic link is itself.
  virtual Result<FileInfo> link_info(const std::string& path) = 0;

  /// The absolute path without symbolic links (realpath).
  virtual Result<std::string> resolve(const std::string& path) = 0;

  /// Ok where the caller may write to the existing file `path` (access).
  virtual Status check_writable(const std::string& path) = 0;

  /// Opens a regular file. Never blocks: kUnsupportedFile for anything else that exists, a dangling
  /// link included.
  virtual Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) = 0;

  /// Creates a file with `mode` minus the umask. kAlreadyExists where the name is taken, be it by a
  /// dangling link.
  virtual Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                                 uint32_t mode) = 0;

  /// Locks a regular file without waiting; null where someone else holds the lock or the file is
  /// gone. Whoever held the lock before may have renamed or removed the file: compare the lock's
  /// file() with what link_info(path) says afterwards.
  virtual Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) = 0;

  /// Gives `from` the name `to` in one step. kAlreadyExists under IfExists::kFail where `to`
  /// exists.
  virtual Status rename(const std::string& from, const std::string& to, IfExists if_exists) = 0;

  /// unlink(2).
  virtual Status remove(const std::string& path) = 0;

  /// Returns once the names in the directory are on the disk.
  virtual Status sync_directory(const std::string& path) = 0;
};

/// Ignores SIGXFSZ and SIGPIPE, so that a file size limit or a closed pipe is an error of the write
/// and not the end of the process. For programs, first thing in main; a library does not call it.
void ignore_write_signals() noexcept;

}  // namespace winnow
