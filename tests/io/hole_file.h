// Files of many GiB in a little memory: of what is written at once, a mebibyte or more has to be
// zeros, and only its length is kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "winnow/io/env.h"

namespace winnow::testing {

/// Bytes that were put at some offsets; all others are zeros.
class HoleContent {
 public:
  void append(std::string_view data) {
    if (!data.empty()) pieces_.emplace(size_, data);
    size_ += data.size();
  }
  void append_zeros(uint64_t count) { size_ += count; }
  uint64_t size() const { return size_; }

  size_t read_at(uint64_t offset, std::span<std::byte> out) const {
    const uint64_t end = std::min<uint64_t>(size_, offset + out.size());
    if (offset >= end) return 0;
    std::memset(out.data(), 0, end - offset);
    auto piece = pieces_.upper_bound(offset);
    if (piece != pieces_.begin()) --piece;
    for (; piece != pieces_.end() && piece->first < end; ++piece) {
      const uint64_t from = std::max(offset, piece->first);
      const uint64_t to = std::min<uint64_t>(end, piece->first + piece->second.size());
      if (from >= to) continue;
      std::memcpy(out.data() + (from - offset), piece->second.data() + (from - piece->first),
                  to - from);
    }
    return end - offset;
  }

 private:
  std::map<uint64_t, std::string> pieces_;  // by their offsets
  uint64_t size_ = 0;
};

class HoleFile final : public RandomAccessFile {
 public:
  explicit HoleFile(std::shared_ptr<const HoleContent> content) : content_(std::move(content)) {}

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const override {
    return content_->read_at(offset, out);
  }
  Result<FileIdentity> identity() const override {
    FileIdentity out;
    out.size = content_->size();
    return out;
  }

 private:
  std::shared_ptr<const HoleContent> content_;
};

/// A file system of such files, as much of one as a writer needs.
class HoleEnv final : public Env {
 public:
  Result<FileInfo> info(const std::string& path) override {
    FileInfo out;
    if (!files_.contains(path)) return out;
    out.kind = FileKind::kRegular;
    out.identity = identity_of(path);
    return out;
  }
  Result<FileInfo> link_info(const std::string& path) override { return info(path); }
  Result<std::string> resolve(const std::string& path) override { return path; }
  Status check_writable(const std::string&) override { return {}; }
  Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) override {
    std::unique_ptr<RandomAccessFile> out = std::make_unique<HoleFile>(files_.at(path));
    return out;
  }
  Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                         uint32_t) override {
    files_[path] = std::make_shared<HoleContent>();
    std::unique_ptr<WritableFile> out = std::make_unique<Writer>(files_[path]);
    return out;
  }
  Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) override {
    std::unique_ptr<FileLock> out = std::make_unique<Lock>(identity_of(path));
    return out;
  }
  Status create_directory(const std::string&, uint32_t) override { return no_directories(); }
  Result<std::vector<std::string>> list_directory(const std::string&, size_t) override {
    return no_directories();
  }
  Result<std::unique_ptr<FileLock>> try_lock_directory(const std::string&) override {
    return no_directories();
  }
  Status remove_directory(const std::string&) override { return no_directories(); }
  Status rename(const std::string& from, const std::string& to, IfExists) override {
    files_[to] = files_.at(from);
    files_.erase(from);
    return {};
  }
  Status remove(const std::string& path) override {
    files_.erase(path);
    return {};
  }
  Status sync_directory(const std::string&) override { return {}; }

 private:
  class Writer final : public WritableFile {
   public:
    explicit Writer(std::shared_ptr<HoleContent> content) : content_(std::move(content)) {}

    Status reserve(uint64_t) override { return {}; }
    Status append(std::span<const std::byte> data) override {
      constexpr size_t kHole = size_t{1} << 20;
      if (data.size() >= kHole) {
        content_->append_zeros(data.size());
      } else {
        content_->append({reinterpret_cast<const char*>(data.data()), data.size()});
      }
      return {};
    }
    Status rewrite(uint64_t, std::span<const std::byte>) override {
      return {ErrorCode::kIoError, "holes are not rewritten"};
    }
    Status set_mode(uint32_t) override { return {}; }
    Result<bool> set_owner(uint32_t, uint32_t) override { return true; }
    Status copy_attributes(const std::string&) override { return {}; }
    Result<FileIdentity> identity() const override { return identity_of(*content_); }
    Status sync() override { return {}; }
    Status close() override { return {}; }

   private:
    std::shared_ptr<HoleContent> content_;
  };

  class Lock final : public FileLock {
   public:
    explicit Lock(FileIdentity file) : file_(file) {}
    const FileIdentity& file() const noexcept override { return file_; }

   private:
    FileIdentity file_;
  };

  static Status no_directories() { return {ErrorCode::kIoError, "only files have holes"}; }

  static FileIdentity identity_of(const HoleContent& content) {
    FileIdentity out;
    out.inode = reinterpret_cast<uintptr_t>(&content);
    out.size = content.size();
    return out;
  }
  FileIdentity identity_of(const std::string& path) const { return identity_of(*files_.at(path)); }

  std::map<std::string, std::shared_ptr<HoleContent>> files_;
};

}  // namespace winnow::testing
