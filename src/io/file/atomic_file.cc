// The order of the steps is the point of this file:
//
//   create    look at the destination; claim the temporary file; reserve the space
//   append    write to the temporary file
//   commit    permissions, fsync, close; rename; fsync of the directory; unlock
//
// The temporary file has one name for each destination and is locked while its writer lives.
// Whoever finds it locked is the second writer; whoever can lock it has found what a killed run
// left, and removes it. It is never reused: after a crash it may be a hard link of the destination.
#include "winnow/io/atomic_file.h"

#include <cassert>
#include <utility>

#include "base/status_macros.h"
#include "io/file/errno_status.h"
#include "io/file/hash_name.h"
#include "io/file/named_lock.h"
#include "io/file/temp_name.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

// An attempt is lost only if another writer came or went meanwhile.
constexpr int kClaimAttempts = 16;
constexpr uint32_t kNewFileMode = 0666;
constexpr uint32_t kPrivateMode = 0600;
// setuid and setgid: under another owner they would lend that one's rights.
constexpr uint32_t kSetIdBits = 06000;

struct Destination {
  std::string path;  // of the file itself, if the caller's path is a symbolic link to it
  FileInfo info;     // kMissing or kRegular
};

// A temporary file of our own. The lock is held past the close of the file.
struct Claim {
  std::unique_ptr<WritableFile> file;
  std::unique_ptr<FileLock> lock;
};

Status unsupported(std::string_view found) {
  return {ErrorCode::kUnsupportedFile, concat("expected a regular file or none, found ", found)};
}

Status check_kind(FileKind kind) {
  if (kind == FileKind::kDirectory) return unsupported("a directory");
  if (kind == FileKind::kOther) return unsupported("a FIFO, socket or device");
  return {};
}

// Follows a symbolic link to the file that is to be replaced.
Result<Destination> follow_link(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const FileInfo link, env.link_info(path));
  if (link.kind != FileKind::kSymlink) return Destination{path, link};
  WINNOW_ASSIGN_OR_RETURN(const FileInfo target, env.info(path));
  if (target.kind == FileKind::kMissing) {
    return unsupported("a symbolic link that leads nowhere");
  }
  // A rename to the link's own name would replace the link.
  WINNOW_ASSIGN_OR_RETURN(std::string resolved, env.resolve(path));
  return Destination{std::move(resolved), target};
}

// Asked before whether to overwrite: an error that offers that would lead to this one.
Status check_blob(const std::string& path, const Destination& destination) {
  if (!io::is_hash_name(destination.path)) return {};
  const std::string what = destination.path == path
                               ? "its name is the hash of its content"
                               : concat("a symbolic link to \"", escape_path(destination.path),
                                        "\", whose name is the hash of its content");
  return {ErrorCode::kNamedByHash,
          concat(what,
                 ", as in the caches of Hugging Face and git-lfs: all who share that "
                 "file would get other content under the old hash. Write to another file")};
}

Result<Destination> check_destination(Env& env, const std::string& path,
                                      const AtomicFileOptions& options) {
  if (path.empty())
    return Status(ErrorCode::kInvalidArgument, "expected the name of a file, found none");
  if (path.ends_with('/')) return unsupported("a directory");
  WINNOW_ASSIGN_OR_RETURN(Destination destination, follow_link(env, path));
  WINNOW_RETURN_IF_ERROR(check_kind(destination.info.kind));
  if (destination.info.kind == FileKind::kMissing) return destination;
  if (!options.overwrite_blob) WINNOW_RETURN_IF_ERROR(check_blob(path, destination));
  if (!options.overwrite) {
    return Status(ErrorCode::kAlreadyExists, "expected no such file, found one");
  }
  // A rename would replace a file that the caller may not write to.
  WINNOW_RETURN_IF_ERROR(env.check_writable(destination.path));
  return destination;
}

// Removes what a killed writer left. kBusy if the writer lives.
Status remove_leftover(Env& env, const std::string& temp) {
  WINNOW_ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock,
                          io::lock_named(env, temp, FileKind::kRegular));
  if (lock == nullptr) return {ErrorCode::kBusy, "another process or thread is writing this file"};
  return env.remove(temp);
}

// Locks the file that was just created. False if someone took it for a leftover in between.
Result<bool> lock_own(Env& env, const std::string& temp, Claim& claim) {
  WINNOW_ASSIGN_OR_RETURN(claim.lock, io::lock_named(env, temp, FileKind::kRegular));
  if (claim.lock == nullptr) return false;
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity own, claim.file->identity());
  return own.same_file(claim.lock->file());
}

// One attempt; a claim without a file asks for another one.
Result<Claim> try_claim(Env& env, const std::string& temp, uint32_t mode) {
  Claim claim;
  Result<std::unique_ptr<WritableFile>> file = env.create_exclusive(temp, mode);
  if (!file.ok()) {
    if (file.status().code() != ErrorCode::kAlreadyExists) return file.status();
    WINNOW_RETURN_IF_ERROR(remove_leftover(env, temp));
    return claim;
  }
  claim.file = std::move(file).value();
  const Result<bool> locked = lock_own(env, temp, claim);
  if (locked.ok() && *locked) return claim;
  // Another writer took it for a leftover, and the name may be that one's now.
  if (locked.ok()) return Claim();
  // Locking itself failed: the file that this attempt made must not stay.
  (void)env.remove(temp);
  return locked.status();
}

Result<Claim> claim_temp(Env& env, const std::string& temp, uint32_t mode) {
  for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
    WINNOW_ASSIGN_OR_RETURN(Claim claim, try_claim(env, temp, mode));
    if (claim.file != nullptr) return claim;
  }
  return Status(ErrorCode::kBusy, "other processes or threads are writing this file");
}

// Gives `file` the owner of the file it replaces; false if only a part of that was permitted.
Result<bool> keep_owner(WritableFile& file, const FileInfo& old) {
  WINNOW_ASSIGN_OR_RETURN(const bool all, file.set_owner(old.owner, old.group));
  if (all) return true;
  // Only root gives files away, but owners may choose among their own groups.
  WINNOW_ASSIGN_OR_RETURN(const bool group, file.set_owner(kKeepOwner, old.group));
  (void)group;  // either way it has another owner
  return false;
}

// Owner first: changing it clears mode bits. Attributes next: an access list changes the mode too.
Status keep_permissions(WritableFile& file, const Destination& old) {
  WINNOW_ASSIGN_OR_RETURN(const bool same_owner, keep_owner(file, old.info));
  WINNOW_RETURN_IF_ERROR(file.copy_attributes(old.path));
  const uint32_t mode = old.info.mode;
  return file.set_mode(same_owner ? mode : mode & ~kSetIdBits);
}

}  // namespace

struct AtomicFile::State {
  Env& env;
  std::string name;  // the caller's path, as messages show it
  Destination destination;
  std::string temp;
  IfExists if_exists;
  std::string permissions_of;  // see the options
  Claim claim;

  Status make_durable();
  Status put_in_place();
};

// All that can fail before the destination is touched.
Status AtomicFile::State::make_durable() {
  // Looked at again, since much time may have passed since `create`.
  WINNOW_ASSIGN_OR_RETURN(const FileInfo now, env.link_info(destination.path));
  WINNOW_RETURN_IF_ERROR(check_kind(now.kind));
  if (now.kind == FileKind::kRegular) destination.info = now;
  if (destination.info.kind == FileKind::kRegular && if_exists == IfExists::kReplace) {
    WINNOW_RETURN_IF_ERROR(keep_permissions(*claim.file, destination));
  } else if (!permissions_of.empty()) {
    WINNOW_ASSIGN_OR_RETURN(const FileInfo old, env.link_info(permissions_of));
    if (old.kind == FileKind::kRegular) {
      WINNOW_RETURN_IF_ERROR(keep_permissions(*claim.file, {permissions_of, old}));
    }
  }
  WINNOW_RETURN_IF_ERROR(claim.file->sync());
  return claim.file->close();
}

Status AtomicFile::State::put_in_place() {
  WINNOW_RETURN_IF_ERROR(make_durable());
  return env.rename(temp, destination.path, if_exists);
}

Result<AtomicFile> AtomicFile::create(Env& env, const std::string& path,
                                      const AtomicFileOptions& options) {
  const std::string name = escape_path(path);
  Result<Destination> destination = check_destination(env, path, options);
  if (!destination.ok()) return destination.status().with_context(name);
  const std::string temp = io::temp_path_for(destination->path);
  // While it is written, the successor of a private file is as private.
  const bool is_successor =
      destination->info.kind == FileKind::kRegular || !options.permissions_of.empty();
  Result<Claim> claim = claim_temp(env, temp, is_successor ? kPrivateMode : kNewFileMode);
  if (!claim.ok()) return claim.status().with_context(name);
  const IfExists if_exists = options.overwrite ? IfExists::kReplace : IfExists::kFail;
  AtomicFile out(std::make_unique<State>(State{env, name, std::move(*destination), temp, if_exists,
                                               options.permissions_of, std::move(*claim)}));
  const Status reserved = out.state_->claim.file->reserve(options.size_hint);
  if (!reserved.ok()) return reserved.with_context(name);  // `out` removes the temporary file
  return out;
}

Status AtomicFile::check(Env& env, const std::string& path, const AtomicFileOptions& options) {
  const Result<Destination> destination = check_destination(env, path, options);
  // The directory has to be writable: the file is made and renamed there.
  return (destination.ok() ? env.check_writable(io::directory_of(destination->path))
                           : destination.status())
      .with_context(escape_path(path));
}

AtomicFile::AtomicFile(std::unique_ptr<State> state)
    : state_(std::move(state)), destination_(state_->destination.path) {}
AtomicFile::AtomicFile(AtomicFile&& other) noexcept = default;

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  // Not defaulted: the temporary file of the old state has to go.
  if (this == &other) return *this;
  abandon();
  state_ = std::move(other.state_);
  destination_ = std::move(other.destination_);
  size_ = other.size_;
  return *this;
}

AtomicFile::~AtomicFile() { abandon(); }

uint64_t AtomicFile::size() const noexcept { return size_; }

Status AtomicFile::append(std::span<const std::byte> data) {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "append to a file that is committed or abandoned"};
  }
  WINNOW_RETURN_IF_ERROR(written(state_->claim.file->append(data)));
  size_ += data.size();
  return Status();
}

Status AtomicFile::rewrite(uint64_t offset, std::span<const std::byte> data) {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "rewrite of a file that is committed or abandoned"};
  }
  assert(offset + data.size() <= size_);
  return written(state_->claim.file->rewrite(offset, data));
}

// A file that lacks bytes is never put in place.
Status AtomicFile::written(const Status& status) {
  if (status.ok()) return status;
  Status named = status.with_context(state_->name);
  abandon();
  return named;
}

Status AtomicFile::commit() {
  if (state_ == nullptr) {
    return {ErrorCode::kInvalidArgument, "commit of a file that is committed or abandoned"};
  }
  Status placed = state_->put_in_place().with_context(state_->name);
  if (!placed.ok()) {
    abandon();
    return placed;
  }
  const std::unique_ptr<State> done = std::move(state_);  // unlocked at the end of this function
  const Status synced = done->env.sync_directory(io::directory_of(done->destination.path));
  if (synced.ok()) return {};
  return {ErrorCode::kNotDurable,
          concat(done->name, ": written, but a power cut may undo it: ", synced.message())};
}

void AtomicFile::abandon() noexcept {
  if (state_ == nullptr) return;
  // Removed before the lock goes: what can be locked is a leftover to others.
  (void)state_->env.remove(state_->temp);
  state_.reset();
}

}  // namespace winnow
