// The order of the steps is the point of this file:
//
//   create    lock the directory; finish or roll back what a killed run left
//   replace   the caller writes and syncs .NAME.winnow.new
//   commit    fsync of the directory; the journal, synced: the change is decided;
//             renames and removals; fsync of the directory;
//             removal of the journal; fsync of the directory; unlock
//
// Each step can be done again: what is renamed is recognised by its size and by the staged file
// being gone, and what is removed by being gone.
#include "winnow/io/atomic_file_set.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/file/journal.h"
#include "io/file/leftovers.h"
#include "io/file/named_lock.h"
#include "io/file/temp_name.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/input_file.h"

namespace winnow {
namespace {

using io::JournalEntry;

// The directory in which the set is at work.
struct Place {
  Env& env;
  std::string directory;  // resolved

  std::string path(std::string_view name) const { return concat(directory, "/", name); }
  std::string staged(std::string_view name) const { return io::staged_path_for(path(name)); }
  std::string journal() const { return path(io::kJournalName); }
  Status sync() const { return env.sync_directory(directory); }
};

struct LockedPlace {
  Place place;
  std::unique_ptr<FileLock> lock;
};

Result<LockedPlace> lock_directory(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(std::string resolved, env.resolve(directory));
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                          io::lock_named(env, resolved, FileKind::kDirectory));
  if (lock == nullptr) {
    return Status(ErrorCode::kBusy,
                  "another process or thread is changing files in this directory");
  }
  return LockedPlace{{env, std::move(resolved)}, std::move(lock)};
}

// Whether the file is one that only a set makes. All of them are dead while the lock is ours.
bool is_staged_name(const std::string& name) {
  const std::string of_file = concat(io::kStagedSuffix, io::kTempSuffix);
  const std::string of_journal = io::file_name_of(io::temp_path_for(std::string(io::kJournalName)));
  const bool hidden = name.starts_with('.');
  return name == of_journal ||
         (hidden && (name.ends_with(io::kStagedSuffix) || name.ends_with(of_file)));
}

// Removes new contents that no journal asks for. Precondition: there is no journal.
Result<Recovery> roll_back(const Place& place) {
  WINNOW_ASSIGN_OR_RETURN(std::vector<std::string> names, io::names_in(place.env, place.directory));
  std::erase_if(names, [](const std::string& name) { return !is_staged_name(name); });
  WINNOW_RETURN_IF_ERROR(io::remove_files(place.env, place.directory, names));
  return names.empty() ? Recovery::kNothing : Recovery::kRolledBack;
}

Result<std::vector<JournalEntry>> read_journal(const Place& place) {
  WINNOW_ASSIGN_OR_RETURN(const InputFile file, InputFile::open(place.env, place.journal()));
  if (file.size() > io::kMaxJournalBytes) {
    return Status(JournalError::kBadJournal,
                  concat("the journal is damaged: expected at most ", io::kMaxJournalBytes,
                         " bytes, found ", file.size()));
  }
  WINNOW_ASSIGN_OR_RETURN(const std::string text, file.read_front(file.size()));
  WINNOW_RETURN_IF_ERROR(file.check_unchanged());
  return io::parse_journal(text);
}

Status mismatch(const JournalEntry& entry, std::string_view what) {
  return {JournalError::kJournalMismatch,
          concat("an interrupted change cannot be finished: expected ", what, " \"",
                 escape_name(entry.name), "\"")};
}

// What is left to do for an entry.
enum class Step { kNone, kRename, kRemove };

Result<Step> step_for(const Place& place, const JournalEntry& entry) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo final, place.env.link_info(place.path(entry.name)));
  if (entry.removes) {
    if (final.kind == FileKind::kMissing) return Step::kNone;
    if (final.kind == FileKind::kRegular) return Step::kRemove;
    return mismatch(entry, "a file or none as");
  }
  WINNOW_ASSIGN_OR_RETURN(const FileInfo staged, place.env.link_info(place.staged(entry.name)));
  const bool is_done = staged.kind == FileKind::kMissing;
  const FileInfo& content = is_done ? final : staged;
  if (content.kind != FileKind::kRegular || content.identity.size != entry.bytes) {
    return mismatch(entry, concat("a new content of ", entry.bytes, " bytes for"));
  }
  // A rename onto a directory would fail halfway.
  const bool is_free = final.kind == FileKind::kMissing || final.kind == FileKind::kRegular;
  if (!is_free) return mismatch(entry, "a file or none as");
  return is_done ? Step::kNone : Step::kRename;
}

Status take(Step step, const Place& place, const JournalEntry& entry) {
  const std::string path = place.path(entry.name);
  if (step == Step::kRemove) return place.env.remove(path);
  if (step == Step::kNone) return {};
  return place.env.rename(place.staged(entry.name), path, IfExists::kReplace);
}

// Looks at all entries before it changes anything.
Status apply(const Place& place, std::span<const JournalEntry> entries) {
  std::vector<Step> steps;
  for (const JournalEntry& entry : entries) {
    WINNOW_ASSIGN_OR_RETURN(steps.emplace_back(), step_for(place, entry));
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(take(steps[i], place, entries[i]));
  }
  return {};
}

// From a journal that is on the disk to a directory without one.
Status finish(const Place& place, std::span<const JournalEntry> entries) {
  WINNOW_RETURN_IF_ERROR(apply(place, entries));
  WINNOW_RETURN_IF_ERROR(place.sync());
  WINNOW_RETURN_IF_ERROR(place.env.remove(place.journal()));
  const Status synced = place.sync();
  if (synced.ok()) return {};
  return {ErrorCode::kNotDurable,
          concat("written, but after a power cut the next write may have to finish it again: ",
                 synced.message())};
}

Result<Recovery> recover_locked(const Place& place) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo journal, place.env.link_info(place.journal()));
  if (journal.kind == FileKind::kMissing) return roll_back(place);
  WINNOW_ASSIGN_OR_RETURN(const std::vector<JournalEntry> entries, read_journal(place));
  // Its writer may have been killed before the journal's name was on the disk.
  WINNOW_RETURN_IF_ERROR(place.sync());
  WINNOW_RETURN_IF_ERROR(finish(place, entries));
  WINNOW_RETURN_IF_ERROR(roll_back(place).status());
  return Recovery::kFinished;
}

Status unfinished(const Status& status) {
  // All is in place, or nobody can finish it.
  if (status.ok() || status.code() == ErrorCode::kNotDurable) return status;
  return {status.code(),
          concat(status.message(),
                 "; the change is decided, and the next write to this directory finishes it"),
          status.system_error()};
}

}  // namespace

struct AtomicFileSet::State {
  std::string name;  // the caller's path, as messages show it
  LockedPlace locked;
  std::vector<JournalEntry> entries = {};
  bool decided = false;

  const Place& place() const noexcept { return locked.place; }
  Status check_new(std::string_view file_name) const;
  Result<StagedFile> replace(std::string_view file_name);
  Status remove(std::string_view file_name);
  Status measure();
  Status decide();
  Status commit();
};

Status AtomicFileSet::State::check_new(std::string_view file_name) const {
  WINNOW_RETURN_IF_ERROR(io::check_journal_name(file_name));
  for (const JournalEntry& entry : entries) {
    if (entry.name != file_name) continue;
    return {ErrorCode::kInvalidArgument,
            concat("\"", escape_name(file_name), "\" is replaced or removed twice")};
  }
  if (entries.size() < io::kMaxJournalEntries) return {};
  return {ErrorCode::kInvalidArgument,
          concat("expected at most ", io::kMaxJournalEntries, " files to change")};
}

Result<StagedFile> AtomicFileSet::State::replace(std::string_view file_name) {
  WINNOW_RETURN_IF_ERROR(check_new(file_name));
  Env& env = place().env;
  const std::string path = place().path(file_name);
  WINNOW_RETURN_IF_ERROR(AtomicFile::check(env, path, {.overwrite = true}));
  WINNOW_ASSIGN_OR_RETURN(const FileInfo old, env.link_info(path));
  if (old.kind == FileKind::kSymlink) {
    return Status(ErrorCode::kUnsupportedFile,
                  concat("expected files of this directory, found the symbolic link \"",
                         escape_name(file_name), "\""));
  }
  entries.push_back({.name = std::string(file_name)});
  StagedFile out{.path = place().staged(file_name), .options = {}};
  if (old.kind == FileKind::kRegular) out.options.permissions_of = path;
  return out;
}

Status AtomicFileSet::State::remove(std::string_view file_name) {
  WINNOW_RETURN_IF_ERROR(check_new(file_name));
  JournalEntry entry{.name = std::string(file_name), .removes = true};
  WINNOW_RETURN_IF_ERROR(step_for(place(), entry).status());
  entries.push_back(std::move(entry));
  return {};
}

// Removals go last, in their order: the files that name them are replaced by then.
Status AtomicFileSet::State::measure() {
  std::ranges::stable_partition(entries, [](const JournalEntry& entry) { return !entry.removes; });
  for (JournalEntry& entry : entries) {
    if (entry.removes) continue;
    WINNOW_ASSIGN_OR_RETURN(const FileInfo staged,
                            place().env.link_info(place().staged(entry.name)));
    if (staged.kind != FileKind::kRegular) {
      return {ErrorCode::kCheckFailed,
              concat("the new content of \"", escape_name(entry.name), "\" was not written")};
    }
    entry.bytes = staged.identity.size;
  }
  return {};
}

Status AtomicFileSet::State::decide() {
  WINNOW_RETURN_IF_ERROR(measure());
  // The journal must not be on the disk before the names that it speaks of.
  WINNOW_RETURN_IF_ERROR(place().sync());
  WINNOW_ASSIGN_OR_RETURN(AtomicFile journal, AtomicFile::create(place().env, place().journal()));
  const std::string text = io::journal_text(entries);
  WINNOW_RETURN_IF_ERROR(journal.append(std::as_bytes(std::span(text))));
  const Status written = journal.commit();
  decided = written.ok() || written.code() == ErrorCode::kNotDurable;
  // Not undone where it may or may not outlive a power cut: either way the set is whole.
  if (written.code() != ErrorCode::kNotDurable) return written;
  return {ErrorCode::kIoError, std::string(written.message())};
}

Status AtomicFileSet::State::commit() {
  if (entries.empty()) return {};
  Status status = decide();
  if (status.ok()) status = finish(place(), entries);
  return decided ? unfinished(status) : status;
}

Result<AtomicFileSet> AtomicFileSet::create(Env& env, const std::string& directory) {
  const std::string name = escape_path(directory);
  Result<LockedPlace> locked = lock_directory(env, directory);
  if (!locked.ok()) return locked.status().with_context(name);
  const Result<Recovery> recovered = recover_locked(locked->place);
  if (!recovered.ok()) return recovered.status().with_context(name);
  return AtomicFileSet(std::make_unique<State>(State{name, std::move(*locked)}));
}

Result<Recovery> AtomicFileSet::recover(Env& env, const std::string& directory) {
  const Result<LockedPlace> locked = lock_directory(env, directory);
  if (!locked.ok()) return locked.status().with_context(escape_path(directory));
  Result<Recovery> recovered = recover_locked(locked->place);
  if (recovered.ok()) return recovered;
  return recovered.status().with_context(escape_path(directory));
}

Result<bool> AtomicFileSet::is_interrupted(Env& env, const std::string& directory) {
  const std::string journal = concat(directory, "/", io::kJournalName);
  const Result<FileInfo> info = env.link_info(journal);
  if (!info.ok()) return info.status().with_context(escape_path(directory));
  return info->kind != FileKind::kMissing;
}

AtomicFileSet::AtomicFileSet(std::unique_ptr<State> state) : state_(std::move(state)) {}
AtomicFileSet::AtomicFileSet(AtomicFileSet&& other) noexcept = default;

AtomicFileSet& AtomicFileSet::operator=(AtomicFileSet&& other) noexcept {
  // Not defaulted: the new contents of the old state have to go.
  if (this == &other) return *this;
  abandon();
  state_ = std::move(other.state_);
  return *this;
}

AtomicFileSet::~AtomicFileSet() { abandon(); }

Result<StagedFile> AtomicFileSet::replace(std::string_view name) {
  if (state_ == nullptr) {
    return Status(ErrorCode::kInvalidArgument, "a file for a set that is committed or abandoned");
  }
  Result<StagedFile> file = state_->replace(name);
  if (!file.ok()) return file.status().with_context(state_->name);
  return file;
}

Status AtomicFileSet::remove(std::string_view name) {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "a removal for a set that is committed or abandoned"};
  }
  return state_->remove(name).with_context(state_->name);
}

Status AtomicFileSet::commit() {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "commit of a set that is committed or abandoned"};
  }
  Status status = state_->commit().with_context(state_->name);
  abandon();
  return status;
}

void AtomicFileSet::abandon() noexcept {
  if (state_ == nullptr) return;
  // What is decided is needed by whoever finishes it.
  if (!state_->decided) (void)roll_back(state_->place());
  state_.reset();
}

}  // namespace winnow
