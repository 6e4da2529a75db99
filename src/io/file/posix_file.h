// Private: open files of the real system.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "winnow/io/env.h"

namespace winnow::io {

/// Owns a file descriptor; -1 is none.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

FileInfo file_info(const struct ::stat& status) noexcept;

class PosixRandomAccessFile final : public RandomAccessFile {
 public:
  PosixRandomAccessFile(UniqueFd fd, std::string path) noexcept
      : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const override;
  Result<FileIdentity> identity() const override;

 private:
  UniqueFd fd_;
  std::string path_;
};

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(UniqueFd fd, std::string path) noexcept
      : fd_(std::move(fd)), path_(std::move(path)) {}

  Status reserve(uint64_t bytes) override;
  Status append(std::span<const std::byte> data) override;
  Status rewrite(uint64_t offset, std::span<const std::byte> data) override;
  Status set_mode(uint32_t mode) override;
  Result<bool> set_owner(uint32_t owner, uint32_t group) override;
  Status copy_attributes(const std::string& path) override;
  Result<FileIdentity> identity() const override;
  Status sync() override;
  Status close() override;

 private:
  Status copy_attribute(const std::string& path, const char* name);
  void start_writeback() noexcept;

  UniqueFd fd_;
  std::string path_;
  uint64_t written_ = 0;
  uint64_t started_ = 0;  // of it on the way to the disk
  uint64_t reserved_ = 0;
};

class PosixFileLock final : public FileLock {
 public:
  PosixFileLock(UniqueFd fd, const FileIdentity& file) noexcept : fd_(std::move(fd)), file_(file) {}

  const FileIdentity& file() const noexcept override { return file_; }

 private:
  UniqueFd fd_;  // the lock goes with it
  FileIdentity file_;
};

/// Gives `from` the name `to` unless that is taken (kAlreadyExists), by a hard link and the removal
/// of the old name. For file systems without renameat2's RENAME_NOREPLACE. A crash between the two
/// steps leaves both names.
Status rename_by_link(const std::string& from, const std::string& to);

}  // namespace winnow::io
