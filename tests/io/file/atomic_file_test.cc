// What an AtomicFile does when nothing fails, and what it refuses.
#include "winnow/io/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/fault_env.h"
#include "io/file/posix_file.h"
#include "io/file/temp_name.h"
#include "io/temp_dir.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using testing::FaultEnv;
using testing::FaultPlan;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::read_file;
using ::testing::StartsWith;
using testing::stat_of;
using testing::TempDir;
using testing::write_file;

Status write(Env& env, const std::string& path, std::string_view content, bool overwrite = false) {
  Result<AtomicFile> file =
      AtomicFile::create(env, path, {.overwrite = overwrite, .size_hint = content.size()});
  if (!file.ok()) return file.status();
  const size_t half = content.size() / 2;
  if (const Status s = file->append(bytes(content.substr(0, half))); !s.ok()) return s;
  if (const Status s = file->append(bytes(content.substr(half))); !s.ok()) return s;
  return file->commit();
}

Status write(const std::string& path, std::string_view content, bool overwrite = false) {
  return write(Env::posix(), path, content, overwrite);
}

Status create_status(const std::string& path, bool overwrite = true) {
  return AtomicFile::create(Env::posix(), path, {.overwrite = overwrite}).status();
}

TEST(AtomicFile, AppearsWholeAtCommit) {
  const TempDir dir;
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->append(bytes("hello, ")).ok());
  ASSERT_TRUE(file->append(bytes("world")).ok());
  EXPECT_EQ(file->size(), 12u);
  EXPECT_THAT(dir.names(), ElementsAre(".out.winnow.tmp"));
  ASSERT_TRUE(file->commit().ok());
  EXPECT_THAT(dir.names(), ElementsAre("out"));
  EXPECT_EQ(read_file(dir.path("out")), "hello, world");
}

TEST(AtomicFile, TakesItsFrontLast) {
  const TempDir dir;
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->append(bytes("????? world")).ok());
  ASSERT_TRUE(file->rewrite(0, bytes("hello")).ok());
  ASSERT_TRUE(file->append(bytes("!")).ok());  // appending goes on at the end
  ASSERT_TRUE(file->rewrite(6, bytes("W")).ok());
  EXPECT_EQ(file->size(), 12u);
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(read_file(dir.path("out")), "hello World!");
  EXPECT_EQ(file->rewrite(0, bytes("x")).code(), ErrorCode::kInvalidArgument);
}

TEST(AtomicFile, AFailedRewriteLeavesNothing) {
  const TempDir dir;
  FaultPlan plan{.error = EIO};
  FaultEnv env(Env::posix(), plan);
  Result<AtomicFile> file = AtomicFile::create(env, dir.path("out"));
  ASSERT_TRUE(file.ok() && file->append(bytes("hello")).ok());
  plan.fail_at = static_cast<int>(plan.calls.size()) + 1;
  EXPECT_EQ(file->rewrite(0, bytes("j")).code(), ErrorCode::kIoError);
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicFile, MayBeEmpty) {
  const TempDir dir;
  ASSERT_TRUE(write(dir.path("out"), "").ok());
  EXPECT_EQ(stat_of(dir.path("out")).st_size, 0);
}

TEST(AtomicFile, WritesToTheWorkingDirectory) {
  const TempDir dir;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir.root());
  const Status status = write("out", "x");
  std::filesystem::current_path(before);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(AtomicFile, LeavesNothingWhenAbandonedOrDestroyed) {
  const TempDir dir;
  {
    Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"));
    ASSERT_TRUE(file->append(bytes("x")).ok());
    file->abandon();
    EXPECT_THAT(dir.names(), IsEmpty());
    file->abandon();
    EXPECT_EQ(file->append(bytes("x")).code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(file->commit().code(), ErrorCode::kInvalidArgument);
    ASSERT_TRUE(AtomicFile::create(Env::posix(), dir.path("out")).ok());
  }
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicFile, MovesWithItsFile) {
  const TempDir dir;
  Result<AtomicFile> first = AtomicFile::create(Env::posix(), dir.path("a"));
  Result<AtomicFile> second = AtomicFile::create(Env::posix(), dir.path("b"));
  ASSERT_TRUE(second->append(bytes("b")).ok());
  *first = std::move(*second);  // abandons a
  ASSERT_TRUE(first->commit().ok());
  EXPECT_THAT(dir.names(), ElementsAre("b"));
}

TEST(AtomicFile, GivesBackSpaceThatWasReservedAndNotWritten) {
  const TempDir dir;
  Result<AtomicFile> file =
      AtomicFile::create(Env::posix(), dir.path("out"), {.size_hint = 8 << 20});
  ASSERT_TRUE(file->append(bytes("x")).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(stat_of(dir.path("out")).st_size, 1);
  EXPECT_LT(stat_of(dir.path("out")).st_blocks, 1000);
}

TEST(AtomicFile, RefusesSizesBeyondAnyFile) {
  const TempDir dir;
  const Status status =
      AtomicFile::create(Env::posix(), dir.path("out"), {.size_hint = ~uint64_t{0}}).status();
  EXPECT_EQ(status.code(), ErrorCode::kIoError);
  EXPECT_THAT(std::string(status.message()), HasSubstr("File too large"));
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicFile, GivesNewFilesTheModeThatTheUmaskLeaves) {
  const TempDir dir;
  for (const mode_t mask : {0000, 0022, 0077}) {
    const mode_t before = ::umask(mask);
    const Status status = write(dir.path("out"), "x");
    ::umask(before);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(stat_of(dir.path("out")).st_mode & 07777, 0666 & ~mask);
    std::filesystem::remove(dir.path("out"));
  }
}

TEST(AtomicFile, RefusesAnExistingDestinationUnlessToldOtherwise) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  EXPECT_EQ(write(dir.path("out"), "new").code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(dir.path("out")), "old");
  EXPECT_TRUE(write(dir.path("out"), "new", true).ok());
  EXPECT_EQ(read_file(dir.path("out")), "new");
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(AtomicFile, KeepsADestinationThatAppearedInBetween) {
  const TempDir dir;
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(file->append(bytes("new")).ok());
  write_file(dir.path("out"), "theirs");
  EXPECT_EQ(file->commit().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(dir.path("out")), "theirs");
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(AtomicFile, KeepsTheModeOfTheFileItReplaces) {
  const TempDir dir;
  for (const mode_t mode : {0600, 0640, 0444, 0755, 04755, 0000}) {
    write_file(dir.path("out"), "old");
    ASSERT_EQ(::chmod(dir.path("out").c_str(), mode), 0);
    const Status status = write(dir.path("out"), "new", true);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(stat_of(dir.path("out")).st_mode & 07777, mode);
  }
}

TEST(AtomicFile, IsPrivateWhileItReplacesAFile) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  ASSERT_EQ(::chmod(dir.path("out").c_str(), 0600), 0);
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"), {.overwrite = true});
  EXPECT_EQ(stat_of(dir.path(".out.winnow.tmp")).st_mode & 0777, 0600u);
}

TEST(AtomicFile, KeepsTheOwnerWherePermitted) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  if (::chown(dir.path("out").c_str(), 1234, 4321) != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(write(dir.path("out"), "new", true).ok());
  EXPECT_EQ(stat_of(dir.path("out")).st_uid, 1234u);
  EXPECT_EQ(stat_of(dir.path("out")).st_gid, 4321u);
}

TEST(AtomicFile, DropsSetIdBitsWhereTheOwnerCannotBeKept) {
  const TempDir dir;
  FaultPlan plan{.deny_owner = true};
  FaultEnv env(Env::posix(), plan);
  write_file(dir.path("out"), "old");
  ASSERT_EQ(::chmod(dir.path("out").c_str(), 06755), 0);
  ASSERT_TRUE(write(env, dir.path("out"), "new", true).ok());
  EXPECT_EQ(stat_of(dir.path("out")).st_mode & 07777, 0755u);
}

TEST(AtomicFile, KeepsExtendedAttributes) {
  const TempDir dir;
  const std::string out = dir.path("out");
  write_file(out, "old");
  if (::setxattr(out.c_str(), "user.note", "kept", 4, 0) != 0) GTEST_SKIP() << "not supported";
  ASSERT_TRUE(write(out, "new", true).ok());
  char value[8] = {};
  EXPECT_EQ(::getxattr(out.c_str(), "user.note", value, sizeof value), 4);
  EXPECT_STREQ(value, "kept");
}

TEST(AtomicFile, ReplacesTheTargetOfALinkAndKeepsTheLink) {
  const TempDir dir, elsewhere;
  write_file(elsewhere.path("target"), "old");
  std::filesystem::create_symlink(elsewhere.path("target"), dir.path("link"));
  ASSERT_TRUE(write(dir.path("link"), "new", true).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(dir.path("link")));
  EXPECT_EQ(read_file(elsewhere.path("target")), "new");
  EXPECT_THAT(dir.names(), ElementsAre("link"));
  EXPECT_THAT(elsewhere.names(), ElementsAre("target"));
}

TEST(AtomicFile, SaysWhichFileItPutsInPlace) {
  const TempDir dir, elsewhere;
  write_file(elsewhere.path("target"), "old");
  std::filesystem::create_symlink(elsewhere.path("target"), dir.path("link"));
  const std::string target = std::filesystem::canonical(elsewhere.path("target"));
  for (const auto& [path, expected] :
       {std::pair(dir.path("link"), target), std::pair(dir.path("new"), dir.path("new"))}) {
    Result<AtomicFile> file = AtomicFile::create(Env::posix(), path, {.overwrite = true});
    ASSERT_TRUE(file.ok()) << file.status().message();
    AtomicFile moved = std::move(*file);
    EXPECT_EQ(moved.destination(), expected);
    ASSERT_TRUE(moved.commit().ok());
    EXPECT_EQ(moved.destination(), expected) << "after the commit too";
  }
}

TEST(AtomicFile, FollowsRelativeLinksFromWhereTheyAre) {
  const TempDir dir;
  std::filesystem::create_directory(dir.path("sub"));
  write_file(dir.path("target"), "old");
  std::filesystem::create_symlink("../target", dir.path("sub/link"));
  ASSERT_TRUE(write(dir.path("sub/link"), "new", true).ok());
  EXPECT_EQ(read_file(dir.path("target")), "new");
}

TEST(AtomicFile, LeavesOtherHardLinksWithTheOldContent) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  std::filesystem::create_hard_link(dir.path("out"), dir.path("other"));
  ASSERT_TRUE(write(dir.path("out"), "new", true).ok());
  EXPECT_EQ(read_file(dir.path("other")), "old");
  EXPECT_EQ(read_file(dir.path("out")), "new");
}

TEST(AtomicFile, RefusesWhatIsNotAFile) {
  const TempDir dir;
  std::filesystem::create_directory(dir.path("directory"));
  std::filesystem::create_symlink("directory", dir.path("to-directory"));
  std::filesystem::create_symlink("nowhere", dir.path("dangling"));
  ASSERT_EQ(::mkfifo(dir.path("fifo").c_str(), 0600), 0);
  const std::vector<std::string> before = dir.names();
  for (const char* name : {"directory", "to-directory", "dangling", "fifo", "new/"}) {
    for (const bool overwrite : {false, true}) {
      const Status status = create_status(dir.path(name), overwrite);
      EXPECT_EQ(status.code(), ErrorCode::kUnsupportedFile) << name;
      EXPECT_THAT(std::string(status.message()), StartsWith(dir.path(name) + ": "));
    }
  }
  EXPECT_EQ(create_status("/dev/null").code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(dir.names(), before);
}

// Runs `body` without root's rights, in a process of its own; returns what it returns.
bool unprivileged(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool dropped = ::geteuid() != 0 || ::setuid(65'534) == 0;
    ::_exit(dropped && body() ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool is_denied(const Status& status) {
  return status.code() == ErrorCode::kIoError &&
         status.message().find("Permission denied") != std::string_view::npos;
}

// A rename would not mind: it asks for rights on the directory only.
TEST(AtomicFile, RefusesToReplaceAFileThatTheCallerMayNotWrite) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  ASSERT_EQ(::chmod(dir.path("out").c_str(), 0444), 0);
  ASSERT_EQ(::chmod(dir.root().c_str(), 0777), 0);
  EXPECT_TRUE(unprivileged([&] { return write(dir.path("new"), "x").ok(); }));
  EXPECT_TRUE(unprivileged([&] { return is_denied(write(dir.path("out"), "new", true)); }));
  EXPECT_EQ(read_file(dir.path("out")), "old");
  EXPECT_THAT(dir.names(), ElementsAre("new", "out"));
}

TEST(AtomicFile, SaysThatADirectoryIsReadOnly) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.root().c_str(), 0555), 0);
  EXPECT_TRUE(unprivileged([&] { return is_denied(write(dir.path("out"), "x")); }));
  ASSERT_EQ(::chmod(dir.root().c_str(), 0755), 0);
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicFile, RefusesPathsThatLeadNowhere) {
  const TempDir dir;
  EXPECT_EQ(create_status("").code(), ErrorCode::kInvalidArgument);
  const Status missing = create_status(dir.path("no/out"));
  EXPECT_EQ(missing.code(), ErrorCode::kIoError);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("No such file or directory"));
  write_file(dir.path("file"), "x");
  EXPECT_THAT(std::string(create_status(dir.path("file/out")).message()),
              HasSubstr("Not a directory"));
}

TEST(AtomicFile, TellsASecondWriterThatTheFirstIsBusy) {
  const TempDir dir;
  Result<AtomicFile> first = AtomicFile::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(create_status(dir.path("out")).code(), ErrorCode::kBusy);
  EXPECT_TRUE(create_status(dir.path("other")).ok());
  ASSERT_TRUE(first->append(bytes("x")).ok());
  ASSERT_TRUE(first->commit().ok()) << "the second writer left the first alone";
  EXPECT_TRUE(create_status(dir.path("out")).ok());
}

TEST(AtomicFile, MeetsASecondWriterThroughALink) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  std::filesystem::create_symlink("out", dir.path("link"));
  Result<AtomicFile> first =
      AtomicFile::create(Env::posix(), dir.path("link"), {.overwrite = true});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(create_status(dir.path("out")).code(), ErrorCode::kBusy);
}

TEST(AtomicFile, RemovesWhatAKilledWriterLeft) {
  const TempDir dir;
  write_file(dir.path(".out.winnow.tmp"), "half of a fi");
  ASSERT_TRUE(write(dir.path("out"), "whole").ok());
  EXPECT_THAT(dir.names(), ElementsAre("out"));
  EXPECT_EQ(read_file(dir.path("out")), "whole");
}

// A writer killed between the link and the removal of rename_by_link leaves this.
TEST(AtomicFile, DoesNotWriteThroughALeftoverThatIsTheDestination) {
  const TempDir dir;
  write_file(dir.path("out"), "committed");
  std::filesystem::create_hard_link(dir.path("out"), dir.path(".out.winnow.tmp"));
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path("out"), {.overwrite = true});
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->append(bytes("x")).ok());
  file->abandon();
  EXPECT_EQ(read_file(dir.path("out")), "committed");
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(AtomicFile, DoesNotTouchWhatOnlyLooksLikeALeftover) {
  const TempDir dir;
  std::filesystem::create_directory(dir.path(".out.winnow.tmp"));
  EXPECT_EQ(create_status(dir.path("out")).code(), ErrorCode::kUnsupportedFile);
  EXPECT_THAT(dir.names(), ElementsAre(".out.winnow.tmp"));
}

TEST(AtomicFile, TakesTheLongestNames) {
  const TempDir dir;
  for (const size_t length : {240u, 243u, 244u, 255u}) {
    const std::string name(length, 'n');
    ASSERT_TRUE(write(dir.path(name), "x").ok()) << length;
    EXPECT_EQ(read_file(dir.path(name)), "x");
  }
  EXPECT_THAT(std::string(write(dir.path(std::string(256, 'n')), "x").message()),
              HasSubstr("File name too long"));
}

TEST(TempName, IsOneForEachDestination) {
  EXPECT_EQ(io::temp_path_for("out"), ".out.winnow.tmp");
  EXPECT_EQ(io::temp_path_for("/a/b.c"), "/a/.b.c.winnow.tmp");
  const std::string a = io::temp_path_for("d/" + std::string(254, 'n') + "a");
  const std::string b = io::temp_path_for("d/" + std::string(254, 'n') + "b");
  EXPECT_NE(a, b);
  EXPECT_EQ(a.size(), 2u + 255u);
  EXPECT_EQ(io::directory_of("out"), ".");
  EXPECT_EQ(io::directory_of("/out"), "/");
  EXPECT_EQ(io::directory_of("/a/out"), "/a");
}

TEST(RenameByLink, GivesTheNewNameUnlessItIsTaken) {
  const TempDir dir;
  write_file(dir.path("from"), "new");
  write_file(dir.path("taken"), "old");
  EXPECT_EQ(io::rename_by_link(dir.path("from"), dir.path("taken")).code(),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(dir.path("taken")), "old");
  EXPECT_TRUE(io::rename_by_link(dir.path("from"), dir.path("to")).ok());
  EXPECT_THAT(dir.names(), ElementsAre("taken", "to"));
}

}  // namespace
}  // namespace winnow
