// Writers of one destination that meet in the narrowest moments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
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
using testing::read_file;
using ::testing::StartsWith;
using testing::TempDir;
using testing::write_file;

Status write(Env& env, const std::string& path, std::string_view content) {
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(content)));
  return file.commit();
}

// What others do between the creation of the temporary file and its lock.
class AtomicFileClaim : public ::testing::Test {
 protected:
  // Writes "ours" while `meddle` runs before the call that the last of `path` comes to be when the
  // calls in it are met one after the other; returns how that ended.
  Status write_with(std::vector<std::string> path, const std::function<void()>& meddle) {
    bool met = false;
    FaultPlan plan;
    plan.before = [&](const std::string& call) {
      if (path.empty() || call != path.front()) return;
      path.erase(path.begin());
      met = path.empty();
      if (met) meddle();
    };
    FaultEnv env(Env::posix(), plan);
    const Status status = write(env, dir_.path("out"), "ours");
    EXPECT_TRUE(met);
    return status;
  }

  TempDir dir_;
  const std::string temp_ = dir_.path(".out.winnow.tmp");
};

TEST_F(AtomicFileClaim, StartsAgainWhereTheFileWasTakenForALeftover) {
  const Status status = write_with({"try_lock"}, [&] { std::filesystem::remove(temp_); });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_file(dir_.path("out")), "ours");
}

TEST_F(AtomicFileClaim, StartsAgainWhereTheNameCameToBeAnotherFile) {
  const Status status = write_with({"try_lock"}, [&] {
    std::filesystem::remove(temp_);
    write_file(temp_, "theirs");
  });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_file(dir_.path("out")), "ours");
  EXPECT_THAT(dir_.names(), ElementsAre("out"));
}

TEST_F(AtomicFileClaim, StartsAgainWhereTheFileWasTakenAwayBeforeTheLock) {
  const Status status =
      write_with({"try_lock", "link_info"}, [&] { std::filesystem::remove(temp_); });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_file(dir_.path("out")), "ours");
}

// The leftover's lock does not cover the file that another writer has put in its place since.
TEST_F(AtomicFileClaim, DoesNotRemoveAFileThatCameInThePlaceOfALeftover) {
  write_file(temp_, "left");
  const Status status = write_with({"try_lock", "link_info"}, [&] {
    std::filesystem::remove(temp_);
    write_file(temp_, "theirs");
  });
  EXPECT_EQ(status.code(), ErrorCode::kBusy);
  EXPECT_EQ(read_file(temp_), "theirs");
}

TEST_F(AtomicFileClaim, GivesWayToAWriterThatWasFaster) {
  std::unique_ptr<FileLock> theirs;
  const Status status = write_with({"create_exclusive"}, [&] {
    write_file(temp_, "theirs");
    theirs = std::move(Env::posix().try_lock(temp_)).value();
  });
  EXPECT_EQ(status.code(), ErrorCode::kBusy);
  EXPECT_EQ(read_file(temp_), "theirs");
}

TEST(TryLock, HoldsUntilTheLockIsDestroyed) {
  const TempDir dir;
  write_file(dir.path("file"), "x");
  std::unique_ptr<FileLock> first = std::move(Env::posix().try_lock(dir.path("file"))).value();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(Env::posix().try_lock(dir.path("file")).value(), nullptr);
  first.reset();
  EXPECT_NE(Env::posix().try_lock(dir.path("file")).value(), nullptr);
  EXPECT_EQ(Env::posix().try_lock(dir.path("missing")).value(), nullptr);
}

TEST(AtomicFileCheck, ClaimsNothing) {
  const TempDir dir;
  write_file(dir.path("old"), "precious");
  const auto check = [&](const std::string& name, bool overwrite) {
    const Status status = AtomicFile::check(Env::posix(), dir.path(name), {.overwrite = overwrite});
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), StartsWith(dir.path(name) + ": "));
    }
    return status;
  };
  EXPECT_TRUE(check("new", false).ok());
  EXPECT_TRUE(check("old", true).ok());
  EXPECT_EQ(check("old", false).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(check("new/", false).code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(check("none/new", false).code(), ErrorCode::kIoError);
  EXPECT_EQ(check("none/new", false).system_error(), ENOENT);
  EXPECT_THAT(dir.names(), ElementsAre("old"));
  EXPECT_EQ(read_file(dir.path("old")), "precious");
}

}  // namespace
}  // namespace winnow
