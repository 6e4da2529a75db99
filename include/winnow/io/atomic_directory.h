// A directory that appears whole or not at all.
//
//   Result<AtomicDirectory> directory = AtomicDirectory::create(env, "out");
//   if (!directory.ok()) return directory.status();
//   WINNOW_ASSIGN_OR_RETURN(const std::string path, directory->path_of("model.safetensors"));
//   WINNOW_RETURN_IF_ERROR(write_with_an_atomic_file(path));
//   WINNOW_RETURN_IF_ERROR(directory->copy_file("config.json", "in/config.json"));
//   WINNOW_RETURN_IF_ERROR(directory->add_directory("vae"));
//   WINNOW_RETURN_IF_ERROR(directory->copy_file("vae/config.json", "in/vae/config.json"));
//   return directory->commit();
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow {

/// Writes beside the destination, to the directory `.NAME.winnow.tmp`, and gives it the
/// destination's name once every byte is on the disk. At any instant, a killed process and a power
/// cut included, the destination is what it was or whole.
///
/// The destination is a free name or an empty directory. There is no option to replace a directory
/// with files in it: no system call replaces one at once, and what else lies in it would be lost.
/// To change files where they are, see AtomicFileSet. A symbolic link to an empty directory stays,
/// and that directory is replaced.
///
/// The temporary directory is locked while its writer lives, on network file systems only against
/// writers on the same machine. What a killed run left behind is removed by the next `create` for
/// the same destination: the temporary directory with all regular files in it, and subdirectories
/// of them down to `kMaxDepth`. If there is anything else, at any depth, it is not winnow's: all of
/// it is left alone and `create` fails.
///
/// Names of files and subdirectories are paths from the directory, with single slashes: "a" or
/// "sub/a".
///
/// Not thread-safe, but the files of different names may be written by several threads. Movable.
/// Every failure leaves the destination untouched and no temporary directory, and its message
/// starts with the destination's path. Allocates the names of the files, and 1 MiB to copy one.
class AtomicDirectory {
 public:
  /// How many subdirectories may lie in each other: a file may be below so many of them.
  static constexpr int kMaxDepth = 8;

  /// Claims `path`, with or without a slash at its end; the destination itself is not touched. The
  /// directory gets the mode 0777 minus the umask or, if it replaces an empty one, that one's mode
  /// minus the umask.
  ///
  /// kInvalidArgument: no name, or one that ends in "." or "..". kAlreadyExists: a file, or a
  /// directory with something in it. kUnsupportedFile: a FIFO, device or dangling link, or what a
  /// killed run left has something in it that is not winnow's. kBusy: another writer is at work on
  /// it. kIoError: no parent directory, or no permission. `env` outlives the object.
  static Result<AtomicDirectory> create(Env& env, const std::string& path);

  /// The answer of `create`, for a dry run: looks at the destination and its parent and claims
  /// nothing. Gives the errors of `create` except kBusy and those of leftovers.
  static Status check(Env& env, const std::string& path);

  /// Takes over the directory and its claim; `other` is as abandoned then.
  AtomicDirectory(AtomicDirectory&& other) noexcept;

  /// The same. Abandons what this object had not committed.
  AtomicDirectory& operator=(AtomicDirectory&& other) noexcept;

  /// Abandons what was not committed.
  ~AtomicDirectory();

  /// Where to write the file `name`: with an AtomicFile, or with any file that is synced before
  /// `commit`. The caller writes it; `commit` fails if it is missing. The same name may be asked
  /// for again. kInvalidArgument: a part of it is no name for a file, see check_file_name; it is in
  /// a subdirectory that was not added, or is one itself.
  Result<std::string> path_of(std::string_view name);

  /// Makes the subdirectory `name`, with the mode 0777 minus the umask. One in another one comes
  /// after that. kInvalidArgument: as path_of, or deeper than kMaxDepth. kAlreadyExists: the name
  /// is that of a file or subdirectory here. After an error the directory is abandoned.
  Status add_directory(std::string_view name);

  /// Adds the file `name`, a copy of the regular file `source`, to which symbolic links are
  /// followed: its bytes and its permission bits without set-id bits, whatever the umask. Errors
  /// are those of `path_of`, of reading `source`, and kAlreadyExists for a name that is there;
  /// after them the directory is abandoned.
  Status copy_file(std::string_view name, const std::string& source);

  /// The directory that `commit` puts in place: the path given to `create` without slashes at its
  /// end, or if that is a symbolic link, the absolute path of the directory that it leads to. Stays
  /// after a commit.
  const std::string& destination() const noexcept { return destination_; }

  /// Puts the directory in place: fsync of its subdirectories and of itself, rename, fsync of its
  /// parent.
  ///
  /// kCheckFailed: a file that was asked for is missing, is still being written, or there is one
  /// that was not asked for. kAlreadyExists: the destination is not free any more; it keeps its
  /// content. kNotDurable: the directory is in place, but a power cut might still take it away.
  Status commit();

  /// Removes all that was written. Harmless after a commit or a second time. Files in it that are
  /// still being written lose their names.
  void abandon() noexcept;

 private:
  struct State;
  explicit AtomicDirectory(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;  // null once committed, abandoned or moved from
  std::string destination_;
};

}  // namespace winnow
