// The operating system as the readers and writers see it: one small interface, so that tests can
// make every single call fail in turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

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

/// An open file that is read at offsets. Thread-safe.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  /// Reads up to out.size() bytes from `offset`; returns how many, fewer only at the end of the file.
  virtual Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const = 0;

  /// The file's identity now (fstat).
  virtual Result<FileIdentity> identity() const = 0;
};

/// A file that is written from front to back. Not thread-safe. Destroying it closes it, errors lost.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  /// Reserves disk space, so that a full disk shows before anything is written. Ok where the file
  /// system cannot reserve.
  virtual Status reserve(uint64_t bytes) = 0;
  virtual Status append(std::span<const std::byte> data) = 0;
  virtual Status sync() = 0;
  virtual Status close() = 0;
};

}  // namespace winnow
