// The order of the steps is the point of this file:
//
//   create      look at the destination; claim the temporary directory
//   path_of     the caller writes and syncs a file in it
//   commit      fsync of its subdirectories and of itself; rename; fsync of its parent; unlock
//
// The claim is the one of atomic_file.cc, with a directory: it has one name for each destination
// and is locked while its writer lives. Whoever can lock one that is there has found what a killed
// run left, and removes it.
#include "winnow/io/atomic_directory.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/file/leftovers.h"
#include "io/file/named_lock.h"
#include "io/file/staged_tree.h"
#include "io/file/temp_name.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/input_file.h"

namespace winnow {
namespace {

// An attempt is lost only if another writer came or went meanwhile.
constexpr int kClaimAttempts = 16;
constexpr uint32_t kNewDirectoryMode = 0777;
constexpr uint32_t kPrivateMode = 0600;
constexpr uint32_t kPermissionBits = 0777;  // without setuid, setgid and the sticky bit
constexpr size_t kCopyBytes = size_t{1} << 20;

struct Destination {
  std::string path;  // of the directory itself, if the caller's path is a symbolic link to it
  FileInfo info;     // kMissing or kDirectory
};

Status taken(std::string_view found) {
  return {ErrorCode::kAlreadyExists,
          concat("expected no such directory or an empty one, found ", found)};
}

Status unsupported(std::string_view found) {
  return {ErrorCode::kUnsupportedFile,
          concat("expected no such directory or an empty one, found ", found)};
}

Result<std::string> without_slashes(const std::string& path) {
  const std::string out = path.substr(0, path.find_last_not_of('/') + 1);
  const std::string name = io::file_name_of(out);
  // What has no name of its own cannot be renamed; "." would be pulled from under the caller's
  // feet.
  if (!name.empty() && name != "." && name != "..") return out;
  return Status(ErrorCode::kInvalidArgument, "expected a path that ends in a directory's name");
}

// Follows a symbolic link to the directory that is to be replaced.
Result<Destination> follow_link(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo link, env.link_info(path));
  if (link.kind != FileKind::kSymlink) return Destination{path, link};
  WINNOW_ASSIGN_OR_RETURN(const FileInfo target, env.info(path));
  if (target.kind == FileKind::kMissing) return unsupported("a symbolic link that leads nowhere");
  // A rename to the link's own name would fail.
  WINNOW_ASSIGN_OR_RETURN(std::string resolved, env.resolve(path));
  return Destination{std::move(resolved), target};
}

Status check_kind(FileKind kind) {
  if (kind == FileKind::kRegular) return taken("a file");
  if (kind == FileKind::kOther) return unsupported("a FIFO, socket or device");
  return {};
}

Status check_empty(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names, env.list_directory(path, 1));
  if (names.empty()) return {};
  return taken(concat("one with \"", escape_name(names[0]),
                      "\" in it, which is not replaced. Write to another directory, or remove this "
                      "one first"));
}

Result<Destination> check_destination(Env& env, const std::string& given) {
  WINNOW_ASSIGN_OR_RETURN(const std::string path, without_slashes(given));
  WINNOW_ASSIGN_OR_RETURN(Destination destination, follow_link(env, path));
  WINNOW_RETURN_IF_ERROR(check_kind(destination.info.kind));
  if (destination.info.kind == FileKind::kMissing) return destination;
  WINNOW_RETURN_IF_ERROR(check_empty(env, destination.path));
  // A rename would replace a directory that the caller may not write to.
  WINNOW_RETURN_IF_ERROR(env.check_writable(destination.path));
  return destination;
}

// Removes what a killed writer left. kBusy if the writer lives.
Status remove_leftover(Env& env, const std::string& stage) {
  WINNOW_ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock,
                          io::lock_named(env, stage, FileKind::kDirectory));
  if (lock != nullptr) return io::remove_tree(env, stage);
  return {ErrorCode::kBusy, "another process or thread is writing this directory"};
}

// One attempt; null asks for another one.
Result<std::unique_ptr<FileLock>> try_claim(Env& env, const std::string& stage, uint32_t mode) {
  const Status created = env.create_directory(stage, mode);
  if (!created.ok()) {
    if (created.code() != ErrorCode::kAlreadyExists) return created;
    WINNOW_RETURN_IF_ERROR(remove_leftover(env, stage));
    return std::unique_ptr<FileLock>();
  }
  // Null: another writer took it for a leftover, and the name may be that one's now.
  Result<std::unique_ptr<FileLock>> lock = io::lock_named(env, stage, FileKind::kDirectory);
  // Locking itself failed: the directory that this attempt made must not stay.
  if (!lock.ok()) (void)env.remove_directory(stage);
  return lock;
}

Result<std::unique_ptr<FileLock>> claim_stage(Env& env, const std::string& stage, uint32_t mode) {
  for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
    WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, try_claim(env, stage, mode));
    if (lock != nullptr) return lock;
  }
  return Status(ErrorCode::kBusy, "other processes or threads are writing this directory");
}

Status copy_bytes(const InputFile& in, WritableFile& out) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(in.size(), kCopyBytes)));
  for (uint64_t at = 0; at < in.size(); at += buffer.size()) {
    buffer.resize(static_cast<size_t>(std::min<uint64_t>(in.size() - at, buffer.size())));
    WINNOW_RETURN_IF_ERROR(in.read(at, buffer));
    WINNOW_RETURN_IF_ERROR(out.append(buffer));
  }
  return in.check_unchanged();
}

}  // namespace

struct AtomicDirectory::State {
  Env& env;
  std::string name;  // the caller's path, as messages show it
  std::string destination;
  std::string stage;
  std::unique_ptr<FileLock> lock;
  io::StagedTree tree = {};  // what was asked for

  Result<std::string> add(std::string_view file);
  Status make_directory(std::string_view directory);
  Status copy(std::string_view file, const std::string& source);
  Status put_in_place();
};

Result<std::string> AtomicDirectory::State::add(std::string_view file) {
  WINNOW_RETURN_IF_ERROR(tree.add_file(file));
  return concat(stage, "/", file);
}

Status AtomicDirectory::State::make_directory(std::string_view directory) {
  WINNOW_RETURN_IF_ERROR(tree.add_directory(directory));
  return env.create_directory(concat(stage, "/", directory), kNewDirectoryMode);
}

// Not by an AtomicFile: nobody else looks at the name before the directory is in place.
Status AtomicDirectory::State::copy(std::string_view file, const std::string& source) {
  WINNOW_ASSIGN_OR_RETURN(const std::string path, add(file));
  WINNOW_ASSIGN_OR_RETURN(const InputFile in, InputFile::open(env, source));
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(source));
  WINNOW_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> out,
                          env.create_exclusive(path, kPrivateMode));
  WINNOW_RETURN_IF_ERROR(out->reserve(in.size()));
  WINNOW_RETURN_IF_ERROR(copy_bytes(in, *out));
  WINNOW_RETURN_IF_ERROR(out->set_mode(info.mode & kPermissionBits));
  WINNOW_RETURN_IF_ERROR(out->sync());
  return out->close();
}

Status AtomicDirectory::State::put_in_place() {
  // A checkpoint that lacks a shard must not get its name, whatever the caller overlooked.
  WINNOW_RETURN_IF_ERROR(tree.check(env, stage));
  WINNOW_RETURN_IF_ERROR(tree.sync(env, stage));
  // Replaces nothing but an empty directory: see Env::rename.
  return env.rename(stage, destination, IfExists::kReplace);
}

Result<AtomicDirectory> AtomicDirectory::create(Env& env, const std::string& path) {
  const std::string name = escape_path(path);
  Result<Destination> destination = check_destination(env, path);
  if (!destination.ok()) return destination.status().with_context(name);
  const std::string stage = io::temp_path_for(destination->path);
  const bool exists = destination->info.kind == FileKind::kDirectory;
  Result<std::unique_ptr<FileLock>> lock =
      claim_stage(env, stage, exists ? destination->info.mode : kNewDirectoryMode);
  if (!lock.ok()) return lock.status().with_context(name);
  return AtomicDirectory(std::make_unique<State>(
      State{env, name, std::move(destination->path), stage, std::move(*lock)}));
}

Status AtomicDirectory::check(Env& env, const std::string& path) {
  const Result<Destination> destination = check_destination(env, path);
  // The parent has to be writable: the directory is made and renamed there.
  return (destination.ok() ? env.check_writable(io::directory_of(destination->path))
                           : destination.status())
      .with_context(escape_path(path));
}

AtomicDirectory::AtomicDirectory(std::unique_ptr<State> state)
    : state_(std::move(state)), destination_(state_->destination) {}
AtomicDirectory::AtomicDirectory(AtomicDirectory&& other) noexcept = default;

AtomicDirectory& AtomicDirectory::operator=(AtomicDirectory&& other) noexcept {
  // Not defaulted: the temporary directory of the old state has to go.
  if (this == &other) return *this;
  abandon();
  state_ = std::move(other.state_);
  destination_ = std::move(other.destination_);
  return *this;
}

AtomicDirectory::~AtomicDirectory() { abandon(); }

Result<std::string> AtomicDirectory::path_of(std::string_view name) {
  if (state_ == nullptr) {
    return Status(ErrorCode::kInvalidArgument,
                  "a file for a directory that is committed or abandoned");
  }
  Result<std::string> path = state_->add(name);
  if (!path.ok()) return path.status().with_context(state_->name);
  return path;
}

Status AtomicDirectory::add_directory(std::string_view name) {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "a directory in one that is committed or abandoned"};
  }
  Status made = state_->make_directory(name).with_context(state_->name);
  if (!made.ok()) abandon();
  return made;
}

Status AtomicDirectory::copy_file(std::string_view name, const std::string& source) {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "a file for a directory that is committed or abandoned"};
  }
  Status copied = state_->copy(name, source).with_context(state_->name);
  if (!copied.ok()) abandon();
  return copied;
}

Status AtomicDirectory::commit() {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "commit of a directory that is committed or abandoned"};
  }
  Status placed = state_->put_in_place().with_context(state_->name);
  if (!placed.ok()) {
    abandon();
    return placed;
  }
  const std::unique_ptr<State> done = std::move(state_);  // unlocked at the end of this function
  const Status synced = done->env.sync_directory(io::directory_of(done->destination));
  if (synced.ok()) return {};
  return {ErrorCode::kNotDurable,
          concat(done->name, ": written, but a power cut may undo it: ", synced.message())};
}

void AtomicDirectory::abandon() noexcept {
  if (state_ == nullptr) return;
  // Removed before the lock goes: what can be locked is a leftover to others.
  (void)io::remove_tree(state_->env, state_->stage);
  state_.reset();
}

}  // namespace winnow
