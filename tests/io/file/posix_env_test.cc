// What the real system's files do that no test of theirs shows.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "io/temp_dir.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/env.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::open_descriptors;
using testing::read_file;
using testing::stat_of;
using testing::TempDir;
using testing::write_file;

// Runs `body` in a process that was started without standard streams; returns what it returns.
bool without_standard_streams(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::close(fd);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool standard_streams_are_closed() {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) return false;
  }
  return true;
}

TEST(PosixEnv, OpensNoFileAsAStandardStream) {
  const TempDir dir;
  write_file(dir.path("in"), "content");
  EXPECT_TRUE(without_standard_streams([&] {
    const auto in = Env::posix().open_for_read(dir.path("in"));
    const auto out = Env::posix().create_exclusive(dir.path("out"), 0600);
    const auto lock = Env::posix().try_lock(dir.path("in"));
    return in.ok() && out.ok() && lock.ok() && *lock != nullptr && standard_streams_are_closed();
  }));
}

TEST(PosixEnv, KeepsWhatIsPrintedOutOfItsFiles) {
  const TempDir dir;
  EXPECT_TRUE(without_standard_streams([&] {
    Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"));
    if (!file.ok() || !file->append(bytes("first, ")).ok()) return false;
    for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
      if (::write(fd, "a message", 9) != -1) return false;
    }
    return file->append(bytes("second")).ok() && file->commit().ok();
  }));
  EXPECT_EQ(read_file(dir.path("out")), "first, second");
}

TEST(PosixEnv, LeavesNothingWhereAFileCannotBeMovedOffAStandardStream) {
  const TempDir dir;
  EXPECT_TRUE(without_standard_streams([&] {
    const rlimit none = {3, 3};  // numbers 0 to 2
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return false;
    const auto out = Env::posix().create_exclusive(dir.path("out"), 0600);
    return out.status().code() == ErrorCode::kIoError && standard_streams_are_closed();
  }));
  EXPECT_THAT(dir.names(), IsEmpty());
}

std::string made_directory(const TempDir& dir, const std::string& name) {
  EXPECT_TRUE(Env::posix().create_directory(dir.path(name), 0777).ok());
  return dir.path(name);
}

TEST(PosixEnv, CreatesADirectoryUnlessTheNameIsTaken) {
  const TempDir dir;
  ASSERT_TRUE(Env::posix().create_directory(dir.path("new"), 0700).ok());
  EXPECT_EQ(stat_of(dir.path("new")).st_mode & 07777, 0700u);
  std::filesystem::create_symlink("nowhere", dir.path("dangling"));
  for (const char* name : {"new", "dangling"}) {
    EXPECT_EQ(Env::posix().create_directory(dir.path(name), 0777).code(),
              ErrorCode::kAlreadyExists);
  }
  EXPECT_EQ(Env::posix().create_directory(dir.path("none/new"), 0777).system_error(), ENOENT);
}

TEST(PosixEnv, ListsNoMoreNamesThanAskedFor) {
  const TempDir dir;
  EXPECT_THAT(Env::posix().list_directory(dir.root(), 10).value(), IsEmpty());
  for (const char* name : {"c", ".a", "b"}) write_file(dir.path(name), "x");
  EXPECT_THAT(Env::posix().list_directory(dir.root(), 10).value(), ElementsAre(".a", "b", "c"));
  EXPECT_EQ(Env::posix().list_directory(dir.root(), 2).value().size(), 2u);
  EXPECT_EQ(Env::posix().list_directory(dir.path("none"), 2).status().system_error(), ENOENT);
  EXPECT_EQ(Env::posix().list_directory(dir.path("b"), 2).status().system_error(), ENOTDIR);
  const size_t descriptors = open_descriptors();
  ASSERT_TRUE(Env::posix().list_directory(dir.root(), 2).ok());
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST(PosixEnv, RemovesOnlyEmptyDirectories) {
  const TempDir dir;
  const std::string full = made_directory(dir, "full");
  write_file(full + "/file", "x");
  const Status refused = Env::posix().remove_directory(full);
  EXPECT_EQ(refused.code(), ErrorCode::kIoError);
  EXPECT_EQ(refused.system_error(), ENOTEMPTY);
  EXPECT_EQ(read_file(full + "/file"), "x");
  EXPECT_TRUE(Env::posix().remove_directory(made_directory(dir, "empty")).ok());
  EXPECT_THAT(dir.names(), ElementsAre("full"));
}

// What a directory's new name may be: a free one or, if replacing is asked for, an empty directory.
TEST(PosixEnv, RenamesADirectoryWithoutReplacingAnythingInUse) {
  for (const IfExists if_exists : {IfExists::kReplace, IfExists::kFail}) {
    const TempDir dir;
    const std::string from = made_directory(dir, "from");
    write_file(from + "/new", "x");
    write_file(made_directory(dir, "full") + "/old", "x");
    write_file(dir.path("file"), "old");
    made_directory(dir, "empty");
    const auto rename_to = [&](const char* name) {
      return Env::posix().rename(from, dir.path(name), if_exists);
    };
    EXPECT_EQ(rename_to("full").code(), ErrorCode::kAlreadyExists);
    EXPECT_FALSE(rename_to("file").ok());
    EXPECT_EQ(read_file(dir.path("full/old")) + read_file(dir.path("file")), "xold");
    const bool replaces = if_exists == IfExists::kReplace;
    EXPECT_EQ(rename_to("empty").code(), replaces ? ErrorCode::kOk : ErrorCode::kAlreadyExists);
    if (!replaces) {
      EXPECT_TRUE(rename_to("free").ok());
    }
    EXPECT_EQ(read_file(dir.path(replaces ? "empty/new" : "free/new")), "x");
  }
}

TEST(TryLockDirectory, HoldsUntilTheLockIsDestroyed) {
  const TempDir dir;
  const std::string path = made_directory(dir, "directory");
  std::unique_ptr<FileLock> first = std::move(Env::posix().try_lock_directory(path)).value();
  ASSERT_NE(first, nullptr);
  EXPECT_TRUE(first->file().same_file(Env::posix().link_info(path).value().identity));
  EXPECT_EQ(Env::posix().try_lock_directory(path).value(), nullptr);
  first.reset();
  EXPECT_NE(Env::posix().try_lock_directory(path).value(), nullptr);
  EXPECT_EQ(Env::posix().try_lock_directory(dir.path("missing")).value(), nullptr);
  write_file(dir.path("file"), "x");
  std::filesystem::create_symlink("directory", dir.path("link"));
  for (const char* name : {"file", "link"}) {
    EXPECT_EQ(Env::posix().try_lock_directory(dir.path(name)).status().code(),
              ErrorCode::kUnsupportedFile);
  }
}

}  // namespace
}  // namespace winnow
