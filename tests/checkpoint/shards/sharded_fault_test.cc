// Every call to the system made to fail in turn, while a folder is pruned to a new one and in
// place: the shards are all old or all new, and nothing is left that the next run does not take
// away.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "checkpoint/shards/test_shards.h"
#include "io/fault_env.h"
#include "winnow/checkpoint/error_codes.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/io/atomic_file_set.h"

namespace winnow {
namespace {

using testing::FailedRun;
using testing::FaultPlan;
using testing::files_in;
using testing::for_each_failing_call;
using testing::TempDir;
using testing::three_shards;
using testing::write_file;
using testing::write_shards;

struct Scene {
  bool in_place, compress, tear;
  int error;
};

class ShardedFaults : public ::testing::TestWithParam<Scene> {
 protected:
  ShardedFaults() {
    write_shards(model_, three_shards());
    write_file(model_ + "/config.json", "{}");
    std::filesystem::create_directory(model_ + "/1_Pooling");
    write_file(model_ + "/1_Pooling/config.json", "{}");
    old_ = files_in(model_);
    EXPECT_TRUE(prune(Env::posix()).ok());
    new_ = files_in(target_);
    reset();
  }

  void reset() {
    std::filesystem::remove_all(model_);
    std::filesystem::remove_all(out_);
    std::filesystem::create_directory(model_);
    std::filesystem::create_directory(model_ + "/1_Pooling");
    for (const auto& [name, content] : old_) {
      if (name != "1_Pooling") write_file(model_ + "/" + name, content);
    }
  }

  Status prune(Env& env) {
    PruneJob job;
    job.input = model_;
    job.output = GetParam().in_place ? "" : out_;
    job.in_place = GetParam().in_place;
    job.compress = GetParam().compress;
    return prune_file(env, job, serial_, progress_).status();
  }

  // All old or all new, or decided: then the next run finishes it.
  void expect_whole(const std::string& what) {
    if (!GetParam().in_place) {
      ASSERT_EQ(files_in(model_), old_) << what;
      if (std::filesystem::exists(out_)) {
        ASSERT_EQ(files_in(out_), new_) << what;
      }
      return;
    }
    ASSERT_TRUE(AtomicFileSet::recover(Env::posix(), model_).ok()) << what;
    const auto files = files_in(model_);
    ASSERT_TRUE(files == old_ || files == new_) << what;
  }

  TempDir dir_;
  const std::string model_ = dir_.path("model"), out_ = dir_.path("out");
  const std::string target_ = GetParam().in_place ? model_ : out_;
  std::map<std::string, std::string> old_, new_;
  SerialFor serial_;
  Progress progress_;
};

TEST_P(ShardedFaults, EveryFailingCallLeavesAllShardsOldOrAllNew) {
  int failures = 0;
  const FaultPlan fault{.tear = GetParam().tear, .error = GetParam().error};
  const auto write = [&](Env& env) {
    reset();
    return prune(env);
  };
  const auto check = [&](const FailedRun& run) {
    expect_whole(run.what);
    if (run.status.ok() || run.status.code() == ErrorCode::kNotDurable) {
      EXPECT_EQ(files_in(target_), new_) << run.what;
      return;
    }
    ++failures;
    EXPECT_EQ(run.status.code(), ErrorCode::kIoError) << run.what << ": " << run.status.message();
    if (run.call == "remove" || run.call == "remove_directory") return;
    auto names = dir_.names();
    std::erase(names, "out");
    EXPECT_EQ(names, std::vector<std::string>{"model"}) << run.what;
  };
  for_each_failing_call(fault, write, check);
  EXPECT_GT(failures, 40);
}

INSTANTIATE_TEST_SUITE_P(Commands, ShardedFaults,
                         ::testing::Values(Scene{false, false, false, ENOSPC},
                                           Scene{false, true, true, EIO},
                                           Scene{true, false, true, ENOSPC},
                                           Scene{true, true, false, EIO}));

}  // namespace
}  // namespace winnow
