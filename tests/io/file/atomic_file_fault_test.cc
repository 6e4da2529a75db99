// Every call of a write made to fail in turn: the old file stays, nothing is left beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/status_macros.h"
#include "io/fault_env.h"
#include "io/temp_dir.h"
#include "winnow/io/atomic_file.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using testing::FaultEnv;
using testing::FaultPlan;
using ::testing::HasSubstr;
using testing::open_descriptors;
using testing::read_file;
using ::testing::StartsWith;
using testing::TempDir;
using testing::write_file;

const std::string kOld = "the old content";
const std::string kNew(100'000, 'n');

Status write_new(Env& env, const std::string& path, bool overwrite) {
  WINNOW_ASSIGN_OR_RETURN(
      AtomicFile file,
      AtomicFile::create(env, path, {.overwrite = overwrite, .size_hint = kNew.size()}));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(kNew).first(1000)));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(kNew).subspan(1000)));
  return file.commit();
}

// How the destination looks before the write.
enum class Before { kNothing, kFile, kLink };

struct Fault {
  Before before;
  int error;
  bool tear;
};

// A directory in which `out` is to be written.
class Scene {
 public:
  explicit Scene(Before before) : before_(before) {
    if (before == Before::kFile) write_file(dir_.path("out"), kOld);
    if (before == Before::kLink) {
      write_file(dir_.path("target"), kOld);
      std::filesystem::create_symlink("target", dir_.path("out"));
    }
    names_ = dir_.names();
  }

  std::string out() const { return dir_.path("out"); }

  Status write(FaultPlan& plan) const {
    FaultEnv env(Env::posix(), plan);
    return write_new(env, out(), before_ != Before::kNothing);
  }

  void expect_untouched() const {
    EXPECT_EQ(dir_.names(), names_);
    EXPECT_EQ(read_file(out()), before_ == Before::kNothing ? "" : kOld);
  }

  void expect_new() const {
    const std::vector<std::string> only_out = {"out"};
    EXPECT_EQ(dir_.names(), before_ == Before::kNothing ? only_out : names_);
    EXPECT_EQ(read_file(out()), kNew);
  }

 private:
  TempDir dir_;
  Before before_;
  std::vector<std::string> names_;
};

// The calls of a write in which nothing fails.
std::vector<std::string> calls_of(Before before) {
  const Scene scene(before);
  FaultPlan plan;
  EXPECT_TRUE(scene.write(plan).ok());
  return plan.calls;
}

class AtomicFileFaults : public ::testing::TestWithParam<Fault> {};

TEST_P(AtomicFileFaults, AtAnyCallLeaveTheOldFileAndNoLitter) {
  const std::vector<std::string> calls = calls_of(GetParam().before);
  for (int k = 1; k <= static_cast<int>(calls.size()); ++k) {
    const std::string& call = calls[static_cast<size_t>(k) - 1];
    SCOPED_TRACE(std::to_string(k) + " " + call);
    const Scene scene(GetParam().before);
    const size_t descriptors = open_descriptors();
    FaultPlan plan{.fail_at = k, .tear = GetParam().tear, .error = GetParam().error};
    const Status status = scene.write(plan);
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_EQ(status.code(),
              call == "sync_directory" ? ErrorCode::kNotDurable : ErrorCode::kIoError);
    EXPECT_THAT(std::string(status.message()), StartsWith(scene.out() + ": "));
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::generic_category().message(GetParam().error)));
    call == "sync_directory" ? scene.expect_new() : scene.expect_untouched();
  }
}

std::vector<Fault> all_faults() {
  std::vector<Fault> out;
  for (const Before before : {Before::kNothing, Before::kFile, Before::kLink}) {
    for (const int error : {ENOSPC, EIO, EACCES, EROFS}) {
      for (const bool tear : {false, true}) out.push_back({before, error, tear});
    }
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, AtomicFileFaults, ::testing::ValuesIn(all_faults()));

// A disk that breaks for good: not even the temporary file can be removed.
TEST(AtomicFileFaults, OfABrokenDiskNeverTearTheDestination) {
  const int calls = static_cast<int>(calls_of(Before::kFile).size());
  for (int k = 1; k <= calls; ++k) {
    const Scene scene(Before::kFile);
    FaultPlan plan{.fail_at = k, .stay_broken = true, .tear = true, .error = EIO};
    EXPECT_FALSE(scene.write(plan).ok());
    EXPECT_EQ(read_file(scene.out()), k == calls ? kNew : kOld);
    FaultPlan repaired;
    EXPECT_TRUE(scene.write(repaired).ok());
    scene.expect_new();
  }
}

TEST(AtomicFileFaults, WhileALeftoverIsRemovedLeaveTheOldFile) {
  int calls = 0;
  for (int k = 0; k <= calls; ++k) {
    const Scene scene(Before::kFile);
    write_file(std::filesystem::path(scene.out()).parent_path() / ".out.winnow.tmp", "left");
    FaultPlan plan{.fail_at = k, .error = EIO};
    const Status status = scene.write(plan);
    if (k == 0) {
      calls = static_cast<int>(plan.calls.size());
      EXPECT_THAT(plan.calls, ::testing::Contains("remove"));
      EXPECT_TRUE(status.ok());
      continue;
    }
    EXPECT_FALSE(status.ok()) << k;
    EXPECT_EQ(read_file(scene.out()), k == calls ? kNew : kOld) << k;
  }
}

// Without this order a power cut can leave an empty destination, or bring back the old one.
TEST(AtomicFileOrder, SyncsTheDataBeforeTheNameAndTheNameAfterwards) {
  const std::vector<std::string> calls = calls_of(Before::kFile);
  const std::vector<std::string> end(calls.end() - 4, calls.end());
  EXPECT_THAT(end, ElementsAre("sync", "close", "rename", "sync_directory"));
  EXPECT_GT(std::find(calls.begin(), calls.end(), "append"),
            std::find(calls.begin(), calls.end(), "reserve"));
}

TEST(AtomicFileFaults, OfTheFileSizeLimitAreErrorsOfTheWrite) {
  const Scene scene(Before::kFile);
  struct ::rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_action = std::signal(SIGXFSZ, SIG_DFL);
  ignore_write_signals();
  struct ::rlimit limit = {50'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  FaultPlan plan;
  const Status status = scene.write(plan);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_action);
  EXPECT_EQ(status.code(), ErrorCode::kIoError);
  EXPECT_THAT(std::string(status.message()), HasSubstr("File too large"));
  scene.expect_untouched();
}

}  // namespace
}  // namespace winnow
