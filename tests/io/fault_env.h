// An Env in which any single call can fail, tear its data or be the process's last.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/io/env.h"

namespace winnow::testing {

/// What happens at which call. Shared by a FaultEnv and the files it opens; calls count from 1.
struct FaultPlan {
  int fail_at = 0;           ///< this call fails with `error`
  bool stay_broken = false;  ///< and so does every later one
  int kill_at = 0;           ///< before this call the process dies by SIGKILL
  bool tear = false;         ///< an append that is hit writes half of its data first
  int error = 0;
  bool deny_owner = false;  ///< set_owner finds no right to change anything

  /// Called before each call with its name: what others do to the files in between.
  std::function<void(const std::string& call)> before = {};

  std::vector<std::string> calls = {};  ///< the names of the calls so far

  /// To be asked at the start of each call; an error is the call's result.
  Status next(const std::string& call);

  /// Whether the next call is one to hit.
  bool hits_next() const;
};

/// Passes every call on to `base` unless the plan says otherwise. The plan outlives all files.
class FaultEnv final : public Env {
 public:
  FaultEnv(Env& base, FaultPlan& plan) : base_(base), plan_(plan) {}

  Result<FileInfo> info(const std::string& path) override;
  Result<FileInfo> link_info(const std::string& path) override;
  Result<std::string> resolve(const std::string& path) override;
  Status check_writable(const std::string& path) override;
  Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) override;
  Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                         uint32_t mode) override;
  Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) override;
  Status create_directory(const std::string& path, uint32_t mode) override;
  Result<std::vector<std::string>> list_directory(const std::string& path,
                                                  size_t max_names) override;
  Result<std::unique_ptr<FileLock>> try_lock_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to, IfExists if_exists) override;
  Status remove(const std::string& path) override;
  Status remove_directory(const std::string& path) override;
  Status sync_directory(const std::string& path) override;

 private:
  Env& base_;
  FaultPlan& plan_;
};

}  // namespace winnow::testing
