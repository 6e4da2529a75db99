// Every call of a write made to fail or to be the last one, in turn: the destination stays as it
// was or is whole, and the next run cleans up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/status_macros.h"
#include "io/fault_env.h"
#include "io/temp_dir.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/atomic_file.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using testing::FaultEnv;
using testing::FaultPlan;
using ::testing::HasSubstr;
using testing::names_below;
using testing::names_in;
using testing::open_descriptors;
using testing::read_file;
using ::testing::StartsWith;
using testing::TempDir;
using testing::write_file;

const std::string kContent(10'000, 'n');

Status add_file(Env& env, AtomicDirectory& directory, const std::string& name) {
  WINNOW_ASSIGN_OR_RETURN(const std::string path, directory.path_of(name));
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(kContent)));
  return file.commit();
}

// Two files that are written, one that is copied, and one of each two directories deep.
Status write_new(Env& env, const TempDir& dir) {
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory out, AtomicDirectory::create(env, dir.path("out")));
  WINNOW_RETURN_IF_ERROR(add_file(env, out, "a"));
  WINNOW_RETURN_IF_ERROR(add_file(env, out, "b"));
  WINNOW_RETURN_IF_ERROR(out.copy_file("config", dir.path("config")));
  WINNOW_RETURN_IF_ERROR(out.add_directory("sub"));
  WINNOW_RETURN_IF_ERROR(out.add_directory("sub/deep"));
  WINNOW_RETURN_IF_ERROR(add_file(env, out, "sub/deep/a"));
  WINNOW_RETURN_IF_ERROR(out.copy_file("sub/deep/config", dir.path("config")));
  return out.commit();
}

// How the destination looks before the write.
enum class Before { kNothing, kEmptyDirectory };

class Scene {
 public:
  explicit Scene(Before before, bool with_leftover = false) : before_(before) {
    write_file(dir_.path("config"), kContent);
    if (before == Before::kEmptyDirectory) std::filesystem::create_directory(out());
    names_ = dir_.names();
    if (!with_leftover) return;
    std::filesystem::create_directories(stage() + "sub/deep");
    for (const char* name : {"a", ".b.winnow.tmp", "sub/deep/.a.winnow.tmp"}) {
      write_file(stage() + name, "left");
    }
  }

  std::string out() const { return dir_.path("out"); }

  Status write(FaultPlan& plan) const {
    FaultEnv env(Env::posix(), plan);
    return write_new(env, dir_);
  }

  bool is_untouched() const {
    const bool existed = before_ == Before::kEmptyDirectory;
    return std::filesystem::exists(out()) == existed && (!existed || names_in(out()).empty());
  }

  bool is_whole() const {
    if (!std::filesystem::exists(out())) return false;
    const std::vector<std::string> files = {"a", "b", "config", "sub/deep/a", "sub/deep/config"};
    if (names_below(out()) != files) return false;
    return std::ranges::all_of(
        files, [&](const std::string& name) { return read_file(out() + "/" + name) == kContent; });
  }

  void expect_no_litter() const { EXPECT_THAT(dir_.names(), ::testing::Not(HasStage())); }
  void expect_untouched() const {
    EXPECT_TRUE(is_untouched());
    EXPECT_EQ(dir_.names(), names_);
  }

 private:
  static ::testing::Matcher<std::vector<std::string>> HasStage() {
    return ::testing::Contains(".out.winnow.tmp");
  }
  std::string stage() const { return dir_.path(".out.winnow.tmp/"); }

  TempDir dir_;
  Before before_;
  std::vector<std::string> names_;
};

std::vector<std::string> calls_of(Before before) {
  const Scene scene(before);
  FaultPlan plan;
  EXPECT_TRUE(scene.write(plan).ok());
  EXPECT_TRUE(scene.is_whole());
  return plan.calls;
}

class AtomicDirectoryFaults : public ::testing::TestWithParam<Before> {};

TEST_P(AtomicDirectoryFaults, AtAnyCallLeaveTheDestinationAndNoLitter) {
  const std::vector<std::string> calls = calls_of(GetParam());
  const int last = static_cast<int>(calls.size());
  for (const int error : {ENOSPC, EIO}) {
    for (int k = 1; k <= last; ++k) {
      SCOPED_TRACE(std::to_string(k) + " " + calls[static_cast<size_t>(k) - 1]);
      const Scene scene(GetParam());
      const size_t descriptors = open_descriptors();
      FaultPlan plan{.fail_at = k, .tear = k % 2 == 0, .error = error};
      const Status status = scene.write(plan);
      EXPECT_EQ(open_descriptors(), descriptors);
      EXPECT_THAT(std::string(status.message()), StartsWith(scene.out().substr(0, 5)));
      EXPECT_THAT(std::string(status.message()), HasSubstr(std::generic_category().message(error)));
      if (k < last) {
        EXPECT_FALSE(status.ok());
        scene.expect_untouched();
        continue;
      }
      EXPECT_EQ(status.code(), ErrorCode::kNotDurable);
      EXPECT_TRUE(scene.is_whole());
      scene.expect_no_litter();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AtomicDirectoryFaults,
                         ::testing::Values(Before::kNothing, Before::kEmptyDirectory));

// A disk that breaks for good: not even the temporary directory can be removed.
TEST(AtomicDirectoryFaults, OfABrokenDiskLeaveWhatTheNextRunRemoves) {
  const int last = static_cast<int>(calls_of(Before::kNothing).size());
  for (int k = 1; k <= last; ++k) {
    const Scene scene(Before::kNothing);
    FaultPlan plan{.fail_at = k, .stay_broken = true, .tear = true, .error = EIO};
    EXPECT_FALSE(scene.write(plan).ok());
    FaultPlan repaired;
    if (k == last) {
      EXPECT_TRUE(scene.is_whole());
      continue;
    }
    EXPECT_TRUE(scene.is_untouched()) << k;
    const Status status = scene.write(repaired);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(scene.is_whole()) << k;
    scene.expect_no_litter();
  }
}

TEST(AtomicDirectoryFaults, WhileALeftoverIsRemovedLeaveTheDestination) {
  int last = 0;
  for (int k = 0; k <= last; ++k) {
    const Scene scene(Before::kEmptyDirectory, true);
    FaultPlan plan{.fail_at = k, .error = EIO};
    const Status status = scene.write(plan);
    if (k == 0) {
      last = static_cast<int>(plan.calls.size());
      EXPECT_THAT(plan.calls, ::testing::Contains("remove_directory"));
      EXPECT_TRUE(status.ok()) << status.message();
      continue;
    }
    EXPECT_FALSE(status.ok()) << k;
    EXPECT_TRUE(k == last ? scene.is_whole() : scene.is_untouched()) << k;
    FaultPlan repaired;
    if (k < last) {
      EXPECT_TRUE(scene.write(repaired).ok()) << k;
    }
  }
}

// A killed process: the lock goes, the files stay.
TEST(AtomicDirectoryCrash, AtEveryCallLeavesWhatTheNextRunRemoves) {
  const int last = static_cast<int>(calls_of(Before::kEmptyDirectory).size());
  int whole = 0;
  for (int k = 1; k <= last; ++k) {
    SCOPED_TRACE(k);
    const Scene scene(Before::kEmptyDirectory);
    const pid_t child = ::fork();
    if (child == 0) {
      FaultPlan plan{.kill_at = k, .tear = k % 2 == 0};
      (void)scene.write(plan);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    if (scene.is_whole()) {
      ++whole;
      continue;
    }
    EXPECT_TRUE(scene.is_untouched());
    FaultPlan next;
    EXPECT_TRUE(scene.write(next).ok());
    EXPECT_TRUE(scene.is_whole());
    scene.expect_no_litter();
  }
  EXPECT_EQ(whole, 1) << "killed before the fsync of the parent";
}

TEST(AtomicDirectoryOrder, SyncsTheFilesThenTheirNamesThenItsOwn) {
  const std::vector<std::string> calls = calls_of(Before::kNothing);
  const std::vector<std::string> end(calls.end() - 10, calls.end());
  EXPECT_THAT(end, ElementsAre("sync", "close", "list_directory", "list_directory",
                               "list_directory", "sync_directory", "sync_directory",
                               "sync_directory", "rename", "sync_directory"))
      << "of three directories, then of the parent";
}

}  // namespace
}  // namespace winnow
