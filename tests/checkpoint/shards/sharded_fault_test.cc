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

using testing::FaultEnv;
using testing::FaultPlan;
using testing::files_in;
using testing::open_descriptors;
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
  for (int call = 1;; ++call) {
    reset();
    FaultPlan plan{.fail_at = call, .tear = GetParam().tear, .error = GetParam().error};
    FaultEnv env(Env::posix(), plan);
    const size_t descriptors = open_descriptors();
    const Status status = prune(env);
    EXPECT_EQ(open_descriptors(), descriptors) << "call " << call;
    if (static_cast<int>(plan.calls.size()) < call) {
      EXPECT_TRUE(status.ok()) << status.message();
      break;
    }
    const std::string what = "call " + std::to_string(call) + " " + plan.calls[call - 1];
    expect_whole(what);
    if (status.ok() || status.code() == ErrorCode::kNotDurable) {
      EXPECT_EQ(files_in(target_), new_) << what;
      continue;
    }
    ++failures;
    EXPECT_EQ(status.code(), ErrorCode::kIoError) << what << ": " << status.message();
    if (plan.calls[call - 1] == "remove" || plan.calls[call - 1] == "remove_directory") continue;
    auto names = dir_.names();
    std::erase(names, "out");
    EXPECT_EQ(names, std::vector<std::string>{"model"}) << what;
  }
  EXPECT_GT(failures, 40);
}

INSTANTIATE_TEST_SUITE_P(Commands, ShardedFaults,
                         ::testing::Values(Scene{false, false, false, ENOSPC},
                                           Scene{false, true, true, EIO},
                                           Scene{true, false, true, ENOSPC},
                                           Scene{true, true, false, EIO}));

}  // namespace
}  // namespace winnow
