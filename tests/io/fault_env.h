// An Env in which any single call can fail, tear its data or be the process's last.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/temp_dir.h"
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

/// A run of for_each_failing_call in which a call failed.
struct FailedRun {
  Status status;                   ///< of the run
  std::vector<std::string> calls;  ///< all that were made
  std::string call;                ///< the name of the one that failed
  std::string what;                ///< for messages: "call 3 rename"
};

/// Runs `write(env)`, which returns a Status, again and again: with its first call failing as
/// `fault` says, with its second, and so on, until a run makes fewer calls; that one has to
/// succeed. Calls `check(run)` after each of the others; a fatal failure in it ends the loop.
template <typename Write, typename Check>
void for_each_failing_call(const FaultPlan& fault, const Write& write, const Check& check) {
  for (int number = 1; !::testing::Test::HasFatalFailure(); ++number) {
    FaultPlan plan = fault;
    plan.fail_at = number;
    FaultEnv env(Env::posix(), plan);
    const size_t descriptors = open_descriptors();
    const Status status = write(env);
    EXPECT_EQ(open_descriptors(), descriptors) << "call " << number;
    if (static_cast<int>(plan.calls.size()) < number) {
      EXPECT_TRUE(status.ok()) << status.message();
      return;
    }
    const std::string call = plan.calls[static_cast<size_t>(number) - 1];
    check(FailedRun{status, plan.calls, call, "call " + std::to_string(number) + " " + call});
  }
}

}  // namespace winnow::testing
