// Several files of one directory, replaced together.
//
//   Result<AtomicFileSet> set = AtomicFileSet::create(env, "model");
//   if (!set.ok()) return set.status();
//   WINNOW_ASSIGN_OR_RETURN(const StagedFile shard, set->replace("model-00001.safetensors"));
//   WINNOW_RETURN_IF_ERROR(write_with_an_atomic_file(shard.path, shard.options));
//   ...                                          // the index file last
//   return set->commit();
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/env.h"

namespace winnow {

/// Where a file of a set is written, and how: both are given to AtomicFile or to a writer on it.
struct StagedFile {
  std::string path;
  AtomicFileOptions options;  ///< the caller may add a size hint
};

/// What a killed run had left in a directory.
enum class Recovery : uint8_t {
  kNothing,     ///< there was nothing to do
  kRolledBack,  ///< files that were not wanted yet; the old files are in place
  kFinished,    ///< a change that was decided; the new files are in place now
};

/// Replaces and removes files of an existing directory; all of it happens or nothing.
///
/// New contents wait beside the old ones as `.NAME.winnow.new`. Once all are on the disk, `commit`
/// writes their names to `.winnow.journal` (docs/journal.md), and with that the change is decided:
/// it then renames the files in the order in which they were asked for, removes what is to go, and
/// removes the journal. A run that is killed before the journal is there is rolled back by the next
/// `create` or `recover`, and one that is killed afterwards is finished. The same holds after a
/// power cut.
///
/// The renames are several, so someone who opens the files one by one meanwhile may get old and new
/// ones. A reader that must not asks `is_interrupted` before and after it opened them.
///
/// The directory is locked while its writer lives, on network file systems only against writers on
/// the same machine. A single AtomicFile in it does not take that lock.
///
/// Not thread-safe, but the files of different names may be written by several threads. Movable.
/// Until the change is decided, every failure leaves the old files and nothing else. Messages start
/// with the directory's path. Allocates the names of the files.
class AtomicFileSet {
 public:
  /// Locks `directory` and does what `recover` does.
  ///
  /// kBusy: another writer is at work in it. kUnsupportedFile: no directory. Else the errors of
  /// `recover`. `env` outlives the object.
  static Result<AtomicFileSet> create(Env& env, const std::string& directory);

  /// Finishes or rolls back what a killed run left in `directory`. Needs no right to write if there
  /// is nothing to do.
  ///
  /// Errors: those of `create`; JournalError::kBadJournal and kJournalMismatch, and nothing was
  /// changed: the journal is damaged, or the files are not those that it speaks of.
  static Result<Recovery> recover(Env& env, const std::string& directory);

  /// Whether a change of `directory` is decided and not finished: by a run that was killed or is at
  /// work. Its files may then be old and new ones; `recover` helps.
  static Result<bool> is_interrupted(Env& env, const std::string& directory);

  /// Takes over the set and its lock; `other` is as abandoned then.
  AtomicFileSet(AtomicFileSet&& other) noexcept;

  /// The same. Abandons what this object had not committed.
  AtomicFileSet& operator=(AtomicFileSet&& other) noexcept;

  /// Abandons what was not committed.
  ~AtomicFileSet();

  /// Where to write the new content of the file `name`, which may be a new one. It gets the
  /// permissions of the old one as AtomicFile does it. The caller commits it before the set's
  /// `commit`, which fails otherwise. Files are put in place in the order of these calls.
  ///
  /// kInvalidArgument: no name for a file (check_file_name), a name of more than 200 bytes or with
  /// a control character, a name that was given before, or more than 16,384 names. kNamedByHash,
  /// kUnsupportedFile and kIoError: as AtomicFile with `overwrite`; a symbolic link is
  /// kUnsupportedFile too, since what it leads to is not of this directory.
  Result<StagedFile> replace(std::string_view name);

  /// Has `commit` remove the file `name`, after all others are in place. Errors as `replace`. A
  /// file that is missing by then is no error.
  Status remove(std::string_view name);

  /// Puts all in place.
  ///
  /// kCheckFailed: a file that was asked for was not written. Any error before the change is
  /// decided leaves the old files. After that, the message says that the next write to the
  /// directory finishes the change, and is_interrupted is true. kNotDurable: all is in place, but
  /// after a power cut the next write may have to finish it once more.
  Status commit();

  /// Removes the new contents. Harmless after a commit or a second time.
  void abandon() noexcept;

 private:
  struct State;
  explicit AtomicFileSet(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;  // null once committed, abandoned or moved from
};

}  // namespace winnow
