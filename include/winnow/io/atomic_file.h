// A file that appears whole or not at all.
//
//   Result<AtomicFile> file = AtomicFile::create(env, "out.safetensors", {.overwrite = true});
//   if (!file.ok()) return file.status();
//   WINNOW_RETURN_IF_ERROR(file->append(bytes));
//   return file->commit();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow {

/// The files that may be replaced, and how much is to come.
struct AtomicFileOptions {
  /// Whether an existing destination is replaced; without it, it is kAlreadyExists.
  bool overwrite = false;

  /// With `overwrite`: also a destination that is named by the hash of its content, as the files of
  /// Hugging Face's cache, git-lfs, git-annex, DVC and Ollama are; without it, that is
  /// kNamedByHash. All who share such a file get the new content under the old hash.
  bool overwrite_blob = false;

  /// How many bytes will be written, if known: a full disk then shows at `create`.
  uint64_t size_hint = 0;

  /// An existing file whose mode and, as far as the caller's rights allow, owner, group and
  /// extended attributes a new file gets: one that is to be replaced later. Empty: none.
  std::string permissions_of = {};
};

/// Writes beside the destination, to `.NAME.winnow.tmp` in the same directory, and gives it the
/// destination's name once every byte is on the disk. At any instant, a killed process and a power
/// cut included, the destination is whole-old or whole-new.
///
/// The temporary file is locked while its writer lives. What a killed run left behind is removed by
/// the next `create` for the same destination. If the destination is a symbolic link to a file,
/// that file is replaced and the link kept; other hard links keep the old content.
///
/// Not thread-safe. Movable. Every failure leaves the destination untouched and no temporary file,
/// and its message starts with the destination's path.
class AtomicFile {
 public:
  /// Claims `path`; the destination itself is not touched.
  ///
  /// kAlreadyExists: it is there and overwriting was not asked for. kNamedByHash: the file that
  /// would be replaced is a blob, see the options. kBusy: another writer is at work on it.
  /// kUnsupportedFile: a directory, FIFO, device or dangling link. kIoError: no such directory, no
  /// permission, or less disk space than `size_hint`. `env` outlives the object.
  static Result<AtomicFile> create(Env& env, const std::string& path,
                                   const AtomicFileOptions& options = {});

  /// The answer of `create`, for a dry run: looks at the destination and its directory and claims
  /// nothing. Gives the errors of `create` except kBusy and a full disk.
  static Status check(Env& env, const std::string& path, const AtomicFileOptions& options = {});

  /// Takes over the file and its claim; `other` is as abandoned then.
  AtomicFile(AtomicFile&& other) noexcept;

  /// The same. Abandons what this object had not committed.
  AtomicFile& operator=(AtomicFile&& other) noexcept;

  /// Abandons what was not committed.
  ~AtomicFile();

  /// Adds `data` at the end. After an error the file is abandoned.
  Status append(std::span<const std::byte> data);

  /// Replaces the bytes from `offset` on by `data`: for a header that is known last. Precondition:
  /// offset + data.size() <= size(). After an error the file is abandoned.
  Status rewrite(uint64_t offset, std::span<const std::byte> data);

  /// The file that `commit` puts in place: the path given to `create`, or if that is a symbolic
  /// link, the absolute path of the file that it leads to. Stays after a commit.
  const std::string& destination() const noexcept { return destination_; }

  /// Bytes appended so far.
  uint64_t size() const noexcept;

  /// Puts the file in place: fsync, permissions, rename, fsync of the directory.
  ///
  /// A destination that existed keeps its mode and, as far as the caller's rights allow, its owner,
  /// group and extended attributes; a new one gets those of `permissions_of`, or 0666 minus the
  /// umask. Without `overwrite`, a
  /// destination that appeared since `create` is kAlreadyExists and keeps its content.
  /// kNotDurable: the new content is in place, but a power cut might still bring the old one back.
  Status commit();

  /// Removes the temporary file. Harmless after a commit or a second time.
  void abandon() noexcept;

 private:
  struct State;
  Status written(const Status& status);
  explicit AtomicFile(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;  // null once committed, abandoned or moved from
  std::string destination_;
  uint64_t size_ = 0;
};

}  // namespace winnow
