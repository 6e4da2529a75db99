// A file that is read: what the readers of formats share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow {

/// An open file, its name, and what it was when it was opened. Movable; const members may be called
/// from several threads at once.
///
/// Every error names the file, once. Those of `open`, `read` and `check_unchanged` do so by
/// themselves; a reader of a format passes its own errors through `named`.
class InputFile {
 public:
  /// Opens a regular file; symbolic links are followed. Never blocks. kIoError: it cannot be
  /// opened. kUnsupportedFile: a directory, FIFO, device or dangling link. `env` outlives the
  /// object.
  static Result<InputFile> open(Env& env, const std::string& path);

  /// The same for any source of bytes, called `name` in messages.
  static Result<InputFile> open(std::unique_ptr<RandomAccessFile> file, const std::string& name);

  /// The file as it was when opened.
  const FileIdentity& identity() const noexcept { return identity_; }
  uint64_t size() const noexcept { return identity_.size; }

  /// Fills `out` with the bytes from `offset` on. Precondition: they lie within size().
  /// kInputChanged: the file got shorter. kIoError: the read failed. After an error the content of
  /// `out` is unspecified.
  Status read(uint64_t offset, std::span<std::byte> out) const;

  /// The file's first bytes, `most` of them or all that there are. Errors: as `read`.
  Result<std::string> read_front(uint64_t most) const;

  /// kInputChanged if the file's size, times or identity differ from those at `open`. What was read
  /// is to be trusted only if this holds after the last read.
  Status check_unchanged() const;

  /// The name as messages show it.
  const std::string& name() const noexcept { return name_; }

  /// `status` with the name before its message, unless it is an error of this class, which has it.
  Status named(const Status& status) const;

 private:
  InputFile() = default;

  std::unique_ptr<RandomAccessFile> file_;
  std::string name_;
  FileIdentity identity_;
};

}  // namespace winnow
