#include "io/file/posix_file.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "io/file/errno_status.h"
#include "io/file/transfer.h"

namespace winnow::io {
namespace {

int64_t nanoseconds(const struct ::timespec& time) noexcept {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileKind file_kind(mode_t mode) noexcept {
  if (S_ISREG(mode)) return FileKind::kRegular;
  if (S_ISDIR(mode)) return FileKind::kDirectory;
  return S_ISLNK(mode) ? FileKind::kSymlink : FileKind::kOther;
}

Result<FileIdentity> identity_of(int fd, const std::string& path) {
  struct ::stat status = {};
  if (::fstat(fd, &status) != 0) return errno_status("examine", path, errno);
  return file_info(status).identity;
}

// Attributes that belong to the file and not to its content (a checksum) or to the system's policy.
bool is_copied(std::string_view name) noexcept {
  return name.starts_with("user.") || name == "system.posix_acl_access";
}

// Errors of a file system or a caller that lacks attributes; the copy is right without them.
bool is_unsupported(int error) noexcept {
  return error == EOPNOTSUPP || error == EPERM || error == EACCES || error == ENODATA ||
         error == ENOSYS;
}

// The names of a file's extended attributes, each ended by a NUL.
std::string attribute_names(const std::string& path) {
  const ssize_t size = ::listxattr(path.c_str(), nullptr, 0);
  if (size <= 0) return {};
  std::string names(static_cast<size_t>(size), '\0');
  // Fails if the list grew in between. Nothing is copied then.
  const ssize_t got = ::listxattr(path.c_str(), names.data(), names.size());
  names.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return names;
}

}  // namespace

FileInfo file_info(const struct ::stat& status) noexcept {
  FileInfo info;
  info.kind = file_kind(status.st_mode);
  // To the nanosecond: files are often written twice within a second.
  info.identity = {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
                   nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
  info.mode = status.st_mode & 07777;
  info.owner = status.st_uid;
  info.group = status.st_gid;
  return info;
}

Result<size_t> PosixRandomAccessFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  const Transfer read = transfer_fully(out.size(), [&](size_t done, size_t count) {
    return ::pread(fd_.get(), out.data() + done, count, static_cast<off_t>(offset + done));
  });
  if (read.error != 0) return errno_status("read", path_, read.error);
  return read.bytes;
}

Result<FileIdentity> PosixRandomAccessFile::identity() const {
  return identity_of(fd_.get(), path_);
}

Status PosixWritableFile::reserve(uint64_t bytes) {
  if (bytes == 0) return {};
  if (bytes > uint64_t{std::numeric_limits<off_t>::max()}) {
    return errno_status("reserve space for", path_, EFBIG);
  }
  // Not posix_fallocate: if the file system cannot reserve, that writes to every block.
  const int error = call_uninterrupted(
      [&] { return ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)); });
  if (error == EOPNOTSUPP || error == ENOSYS) return {};
  if (error != 0) return errno_status("reserve space for", path_, error);
  reserved_ = bytes;
  return {};
}

Status PosixWritableFile::append(std::span<const std::byte> data) {
  const Transfer wrote = transfer_fully(data.size(), [&](size_t done, size_t count) {
    return ::write(fd_.get(), data.data() + done, count);
  });
  written_ += wrote.bytes;
  if (wrote.error != 0) return errno_status("write", path_, wrote.error);
  start_writeback();
  // write(2) that moves nothing sets no errno.
  return wrote.bytes == data.size() ? Status() : errno_status("write", path_, EIO);
}

// Lets the disk begin while more is computed: `sync` then finds little left to wait for. Only a
// hint, so that a refusal is no error; sync reports what goes wrong.
void PosixWritableFile::start_writeback() noexcept {
#ifdef __linux__
  constexpr uint64_t kStep = uint64_t{8} << 20;
  if (written_ - started_ < kStep) return;
  ::sync_file_range(fd_.get(), static_cast<off_t>(started_),
                    static_cast<off_t>(written_ - started_), SYNC_FILE_RANGE_WRITE);
  started_ = written_;
#endif
}

Status PosixWritableFile::rewrite(uint64_t offset, std::span<const std::byte> data) {
  const Transfer wrote = transfer_fully(data.size(), [&](size_t done, size_t count) {
    return ::pwrite(fd_.get(), data.data() + done, count, static_cast<off_t>(offset + done));
  });
  if (wrote.error != 0) return errno_status("write", path_, wrote.error);
  return wrote.bytes == data.size() ? Status() : errno_status("write", path_, EIO);
}

Status PosixWritableFile::set_mode(uint32_t mode) {
  if (::fchmod(fd_.get(), mode) != 0) return errno_status("set the mode of", path_, errno);
  return {};
}

Result<bool> PosixWritableFile::set_owner(uint32_t owner, uint32_t group) {
  if (::fchown(fd_.get(), owner, group) == 0) return true;
  if (errno == EPERM) return false;
  return errno_status("set the owner of", path_, errno);
}

Status PosixWritableFile::copy_attributes(const std::string& path) {
  const std::string names = attribute_names(path);
  for (size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    const char* name = names.c_str() + at;
    if (is_copied(name)) WINNOW_RETURN_IF_ERROR(copy_attribute(path, name));
  }
  return {};
}

Status PosixWritableFile::copy_attribute(const std::string& path, const char* name) {
  std::vector<char> value(65'536);  // the kernel's limit, XATTR_SIZE_MAX
  const ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
  if (size >= 0 && ::fsetxattr(fd_.get(), name, value.data(), static_cast<size_t>(size), 0) == 0) {
    return {};
  }
  return is_unsupported(errno) ? Status() : errno_status("copy the attributes of", path, errno);
}

Result<FileIdentity> PosixWritableFile::identity() const { return identity_of(fd_.get(), path_); }

Status PosixWritableFile::sync() {
  // Truncating to the size that the file has gives back the space reserved past its end.
  if (reserved_ > written_ && ::ftruncate(fd_.get(), static_cast<off_t>(written_)) != 0) {
    return errno_status("truncate", path_, errno);
  }
  const int error = call_uninterrupted([&] { return ::fsync(fd_.get()); });
  return error == 0 ? Status() : errno_status("sync", path_, error);
}

Status PosixWritableFile::close() {
  // Not repeated after EINTR: Linux has closed the descriptor by then.
  if (::close(fd_.release()) == 0 || errno == EINTR) return {};
  return errno_status("close", path_, errno);
}

}  // namespace winnow::io
