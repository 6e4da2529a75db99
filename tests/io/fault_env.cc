#include "io/fault_env.h"

#include <csignal>
#include <utility>

#include "base/status_macros.h"
#include "io/file/errno_status.h"

namespace winnow::testing {
namespace {

class FaultRandomAccessFile final : public RandomAccessFile {
 public:
  FaultRandomAccessFile(std::unique_ptr<RandomAccessFile> base, FaultPlan& plan)
      : base_(std::move(base)), plan_(plan) {}

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const override {
    WINNOW_RETURN_IF_ERROR(plan_.next("read_at"));
    return base_->read_at(offset, out);
  }
  Result<FileIdentity> identity() const override {
    WINNOW_RETURN_IF_ERROR(plan_.next("identity"));
    return base_->identity();
  }

 private:
  std::unique_ptr<RandomAccessFile> base_;
  FaultPlan& plan_;
};

class FaultWritableFile final : public WritableFile {
 public:
  FaultWritableFile(std::unique_ptr<WritableFile> base, FaultPlan& plan)
      : base_(std::move(base)), plan_(plan) {}

  Status reserve(uint64_t bytes) override {
    WINNOW_RETURN_IF_ERROR(plan_.next("reserve"));
    return base_->reserve(bytes);
  }
  Status append(std::span<const std::byte> data) override {
    if (plan_.tear && plan_.hits_next()) (void)base_->append(data.first(data.size() / 2));
    WINNOW_RETURN_IF_ERROR(plan_.next("append"));
    return base_->append(data);
  }
  Status rewrite(uint64_t offset, std::span<const std::byte> data) override {
    if (plan_.tear && plan_.hits_next()) (void)base_->rewrite(offset, data.first(data.size() / 2));
    WINNOW_RETURN_IF_ERROR(plan_.next("rewrite"));
    return base_->rewrite(offset, data);
  }
  Status set_mode(uint32_t mode) override {
    WINNOW_RETURN_IF_ERROR(plan_.next("set_mode"));
    return base_->set_mode(mode);
  }
  Result<bool> set_owner(uint32_t owner, uint32_t group) override {
    WINNOW_RETURN_IF_ERROR(plan_.next("set_owner"));
    if (plan_.deny_owner) return false;
    return base_->set_owner(owner, group);
  }
  Status copy_attributes(const std::string& path) override {
    WINNOW_RETURN_IF_ERROR(plan_.next("copy_attributes"));
    return base_->copy_attributes(path);
  }
  Result<FileIdentity> identity() const override {
    WINNOW_RETURN_IF_ERROR(plan_.next("identity"));
    return base_->identity();
  }
  Status sync() override {
    WINNOW_RETURN_IF_ERROR(plan_.next("sync"));
    return base_->sync();
  }
  // As the system does, closes even where it reports an error.
  Status close() override {
    const Status injected = plan_.next("close");
    const Status closed = base_->close();
    return injected.ok() ? closed : injected;
  }

 private:
  std::unique_ptr<WritableFile> base_;
  FaultPlan& plan_;
};

}  // namespace

bool FaultPlan::hits_next() const {
  const int number = static_cast<int>(calls.size()) + 1;
  return number == fail_at || number == kill_at;
}

Status FaultPlan::next(const std::string& call) {
  calls.push_back(call);
  if (before) before(call);
  const int number = static_cast<int>(calls.size());
  if (number == kill_at) (void)std::raise(SIGKILL);
  const bool fails = number == fail_at || (stay_broken && fail_at != 0 && number > fail_at);
  return fails ? io::errno_status(call, "injected", error) : Status();
}

Result<FileInfo> FaultEnv::info(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("info"));
  return base_.info(path);
}

Result<FileInfo> FaultEnv::link_info(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("link_info"));
  return base_.link_info(path);
}

Result<std::string> FaultEnv::resolve(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("resolve"));
  return base_.resolve(path);
}

Status FaultEnv::check_writable(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("check_writable"));
  return base_.check_writable(path);
}

Result<std::unique_ptr<RandomAccessFile>> FaultEnv::open_for_read(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("open_for_read"));
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, base_.open_for_read(path));
  return std::unique_ptr<RandomAccessFile>(new FaultRandomAccessFile(std::move(file), plan_));
}

Result<std::unique_ptr<WritableFile>> FaultEnv::create_exclusive(const std::string& path,
                                                                 uint32_t mode) {
  WINNOW_RETURN_IF_ERROR(plan_.next("create_exclusive"));
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, base_.create_exclusive(path, mode));
  return std::unique_ptr<WritableFile>(new FaultWritableFile(std::move(file), plan_));
}

Result<std::unique_ptr<FileLock>> FaultEnv::try_lock(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("try_lock"));
  return base_.try_lock(path);
}

Status FaultEnv::create_directory(const std::string& path, uint32_t mode) {
  WINNOW_RETURN_IF_ERROR(plan_.next("create_directory"));
  return base_.create_directory(path, mode);
}

Result<std::vector<std::string>> FaultEnv::list_directory(const std::string& path,
                                                          size_t max_names) {
  WINNOW_RETURN_IF_ERROR(plan_.next("list_directory"));
  return base_.list_directory(path, max_names);
}

Result<std::unique_ptr<FileLock>> FaultEnv::try_lock_directory(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("try_lock_directory"));
  return base_.try_lock_directory(path);
}

Status FaultEnv::rename(const std::string& from, const std::string& to, IfExists if_exists) {
  WINNOW_RETURN_IF_ERROR(plan_.next("rename"));
  return base_.rename(from, to, if_exists);
}

Status FaultEnv::remove(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("remove"));
  return base_.remove(path);
}

Status FaultEnv::remove_directory(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("remove_directory"));
  return base_.remove_directory(path);
}

Status FaultEnv::sync_directory(const std::string& path) {
  WINNOW_RETURN_IF_ERROR(plan_.next("sync_directory"));
  return base_.sync_directory(path);
}

}  // namespace winnow::testing
