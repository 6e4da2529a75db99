// The operating system as readers and writers see it: one small interface, so that tests can make
// each call fail in turn.
//
// Every system error is kIoError, with a message that has the action, the path and errno's text.
// Functions whose callers must tell a refusal from a failure document a code for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"

namespace winnow {

/// Identifies a file and its state: equal if it is the same file and was not changed in between.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  /// Returns true if both are the same file, whatever its state.
  bool same_file(const FileIdentity& other) const noexcept {
    return device == other.device && inode == other.inode;
  }
  bool operator==(const FileIdentity&) const = default;
};

/// The kind of file that a path refers to. kOther is a FIFO, socket or device.
enum class FileKind : uint8_t { kMissing, kRegular, kDirectory, kSymlink, kOther };

/// The attributes of a path. Only `kind` is meaningful if it is kMissing.
struct FileInfo {
  FileKind kind = FileKind::kMissing;
  FileIdentity identity;
  uint32_t mode = 0;  ///< permission bits, 07777
  uint32_t owner = 0;
  uint32_t group = 0;
};

/// Leaves an owner or group unchanged, see WritableFile::set_owner.
inline constexpr uint32_t kKeepOwner = UINT32_MAX;

/// Whether Env::rename replaces a file that already has the new name, or fails.
enum class IfExists : uint8_t { kReplace, kFail };

/// An open file, read at given offsets. Thread-safe.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  /// Reads up to out.size() bytes from `offset` and returns their number, which is smaller only at
  /// the end of the file.
  virtual Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const = 0;

  /// Returns the file's current identity (fstat).
  virtual Result<FileIdentity> identity() const = 0;
};

/// A file that is written from front to back. Not thread-safe. The destructor closes it and ignores
/// errors.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  /// Reserves disk space, so that a full disk is noticed before anything is written. Returns ok if
  /// the file system cannot reserve. `sync` releases what was reserved but not written.
  virtual Status reserve(uint64_t bytes) = 0;

  /// Writes all of `data` at the end; continues interrupted and short writes.
  virtual Status append(std::span<const std::byte> data) = 0;

  /// Replaces the bytes from `offset` on, which were appended before, by all of `data`; continues
  /// interrupted and short writes. Appending goes on at the end.
  virtual Status rewrite(uint64_t offset, std::span<const std::byte> data) = 0;

  /// Sets the permission bits to `mode` (fchmod); the umask does not apply.
  virtual Status set_mode(uint32_t mode) = 0;

  /// Sets owner and group; kKeepOwner leaves either unchanged. Returns false if the caller lacks
  /// the right to do so. May clear the set-id bits of the mode.
  virtual Result<bool> set_owner(uint32_t owner, uint32_t group) = 0;

  /// Copies the extended attributes of the file at `path`, including access control lists, as far
  /// as both file systems and the caller's rights allow.
  virtual Status copy_attributes(const std::string& path) = 0;

  /// Returns the file's current identity (fstat).
  virtual Result<FileIdentity> identity() const = 0;

  /// Returns once the data is on the disk (fsync).
  virtual Status sync() = 0;

  /// Closes the file and reports delayed errors of the file system. All later calls fail.
  virtual Status close() = 0;
};

/// An advisory lock (flock), held until the object is destroyed or the process ends in any way.
class FileLock {
 public:
  virtual ~FileLock() = default;

  /// Returns the locked file, which its path may not refer to any more.
  virtual const FileIdentity& file() const noexcept = 0;
};

/// The system calls. Implementations are thread-safe and outlive the files they open.
class Env {
 public:
  virtual ~Env() = default;

  /// Returns the real system. It never gives a file the descriptors 0 to 2, even if they are free,
  /// so printed text cannot end up in a file.
  static Env& posix();

  /// Returns the attributes of `path` and follows symbolic links; a dangling one is kMissing.
  virtual Result<FileInfo> info(const std::string& path) = 0;

  /// Returns the attributes of `path` without following a symbolic link.
  virtual Result<FileInfo> link_info(const std::string& path) = 0;

  /// Returns the absolute path without symbolic links (realpath).
  virtual Result<std::string> resolve(const std::string& path) = 0;

  /// Returns ok if the caller may write to the existing file `path` (access).
  virtual Status check_writable(const std::string& path) = 0;

  /// Opens a regular file. Never blocks: anything else that exists is kUnsupportedFile, including a
  /// dangling link.
  virtual Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) = 0;

  /// Creates a file with `mode` minus the umask. Error: kAlreadyExists if the name is taken, even
  /// by a dangling link.
  virtual Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                                 uint32_t mode) = 0;

  /// Locks a regular file without waiting. Returns null if another holder has the lock or the file
  /// is gone. A previous holder may have renamed or removed the file: compare the lock's file()
  /// with link_info(path) afterwards.
  virtual Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) = 0;

  /// Creates a directory with `mode` minus the umask. Error: kAlreadyExists if the name is taken,
  /// even by a dangling link.
  virtual Status create_directory(const std::string& path, uint32_t mode) = 0;

  /// Returns at most `max_names` names in the directory, sorted, without "." and "..": ask for one
  /// more than you can use to learn that there are more. Allocates what it returns.
  virtual Result<std::vector<std::string>> list_directory(const std::string& path,
                                                          size_t max_names) = 0;

  /// The same lock as `try_lock`, on a directory. kUnsupportedFile: the path is something else, a
  /// symbolic link included. On network file systems, only processes of one machine meet.
  virtual Result<std::unique_ptr<FileLock>> try_lock_directory(const std::string& path) = 0;

  /// Renames `from`, a file or a directory, to `to` atomically. A file replaces a file, and a
  /// directory an empty directory. Error: kAlreadyExists if `to` is a directory and not empty, or
  /// exists at all under IfExists::kFail.
  virtual Status rename(const std::string& from, const std::string& to, IfExists if_exists) = 0;

  /// Removes a name (unlink).
  virtual Status remove(const std::string& path) = 0;

  /// Removes an empty directory (rmdir). Error: kIoError with ENOTEMPTY if it is not empty.
  virtual Status remove_directory(const std::string& path) = 0;

  /// Returns once the names in the directory are on the disk (fsync).
  virtual Status sync_directory(const std::string& path) = 0;
};

/// Ignores SIGXFSZ and SIGPIPE, so that a write beyond the file size limit or to a closed pipe
/// fails instead of ending the process. For programs, at the start of main; libraries should not
/// call it.
void ignore_write_signals() noexcept;

}  // namespace winnow
