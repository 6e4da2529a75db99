// What the real system's files do that no test of theirs shows.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "io/temp_dir.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/env.h"

namespace winnow {
namespace {

using testing::bytes;
using testing::read_file;
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
  EXPECT_THAT(dir.names(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace winnow
