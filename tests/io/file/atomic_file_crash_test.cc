// Writers killed by SIGKILL: the destination is whole-old or whole-new, and the next run cleans up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

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
using testing::TempDir;

constexpr size_t kFileBytes = 1 << 20;

// A whole version of the file: one character, repeated.
std::string version(char c) { return std::string(kFileBytes, c); }

bool is_whole(const std::string& content) {
  return content.size() == kFileBytes && content == version(content[0]);
}

Status write_version(Env& env, const std::string& path, char c) {
  Result<AtomicFile> file = AtomicFile::create(env, path, {.overwrite = true});
  if (!file.ok()) return file.status();
  const std::string content = version(c);
  constexpr size_t kPiece = kFileBytes / 4;
  for (size_t at = 0; at < kFileBytes; at += kPiece) {
    if (const Status s = file->append(bytes(content).subspan(at, kPiece)); !s.ok()) return s;
  }
  return file->commit();
}

// Runs `body` in a child process and returns the child's id.
pid_t start_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  body();
  ::_exit(0);
}

int wait_for(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

void expect_next_run_cleans_up(const TempDir& dir) {
  const Status status = write_version(Env::posix(), dir.path("out"), 'z');
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(dir.names(), ElementsAre("out"));
  EXPECT_EQ(read_file(dir.path("out")), version('z'));
}

TEST(AtomicFileCrash, AtEveryCallLeavesAWholeFile) {
  bool killed = true;
  int old_versions = 0, new_versions = 0;
  for (int k = 1; killed; ++k) {
    SCOPED_TRACE(k);
    const TempDir dir;
    testing::write_file(dir.path("out"), version('a'));
    const int status = wait_for(start_child([&] {
      FaultPlan plan{.kill_at = k, .tear = k % 2 == 0};
      FaultEnv env(Env::posix(), plan);
      (void)write_version(env, dir.path("out"), 'b');
    }));
    killed = WIFSIGNALED(status);
    const std::string content = read_file(dir.path("out"));
    ASSERT_TRUE(is_whole(content));
    ++(content[0] == 'a' ? old_versions : new_versions);
    expect_next_run_cleans_up(dir);
  }
  EXPECT_GE(old_versions, 10);
  EXPECT_EQ(new_versions, 2);  // killed before the directory's fsync, and not killed at all
}

TEST(AtomicFileCrash, AtRandomMomentsLeavesAWholeFile) {
  const unsigned seed = std::random_device()();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const TempDir dir;
  testing::write_file(dir.path("out"), version('a'));
  for (int round = 0; round < 50; ++round) {
    int started[2] = {};
    ASSERT_EQ(::pipe(started), 0);
    const pid_t child = start_child([&] {
      for (char c = 'b';; c = c == 'y' ? 'b' : static_cast<char>(c + 1)) {
        if (!write_version(Env::posix(), dir.path("out"), c).ok()) ::_exit(1);
        if (::write(started[1], "x", 1) != 1) ::_exit(1);
      }
    });
    ::close(started[1]);
    char first_is_done = 0;
    ASSERT_EQ(::read(started[0], &first_is_done, 1), 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_TRUE(WIFSIGNALED(wait_for(child)));
    ::close(started[0]);
    ASSERT_TRUE(is_whole(read_file(dir.path("out")))) << "round " << round;
  }
  expect_next_run_cleans_up(dir);
}

// Writers that run against each other, some killed: one of them wins, or is told that it is busy.
TEST(AtomicFileCrash, OfSomeOfManyWritersLeavesAWholeFile) {
  const TempDir dir;
  std::vector<pid_t> children;
  for (char c = 'a'; c < 'g'; ++c) {
    children.push_back(start_child([&] {
      for (int i = 0; i < 30; ++i) {
        const StatusCode code = write_version(Env::posix(), dir.path("out"), c).code();
        if (code != ErrorCode::kOk && code != ErrorCode::kBusy) ::_exit(1);
      }
    }));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  (void)::kill(children[0], SIGKILL);
  for (size_t i = 0; i < children.size(); ++i) {
    const int status = wait_for(children[i]);
    const bool was_killed = i == 0;
    EXPECT_TRUE(was_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << status;
  }
  EXPECT_TRUE(is_whole(read_file(dir.path("out"))));
  expect_next_run_cleans_up(dir);
}

}  // namespace
}  // namespace winnow
