// A directory that is written: what it may replace, what is in it, who else may write there. Calls
// that fail and runs that are killed: atomic_directory_fault_test.cc.
#include "winnow/io/atomic_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

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
using ::testing::IsEmpty;
using testing::names_below;
using testing::names_in;
using testing::read_file;
using ::testing::StartsWith;
using testing::stat_of;
using testing::TempDir;
using testing::write_file;

Status add_file(AtomicDirectory& directory, const std::string& name, std::string_view content) {
  WINNOW_ASSIGN_OR_RETURN(const std::string path, directory.path_of(name));
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(Env::posix(), path));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(content)));
  return file.commit();
}

// A directory with the file `a` of the content `content`.
Status write(const std::string& path, std::string_view content = "new") {
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory directory, AtomicDirectory::create(Env::posix(), path));
  WINNOW_RETURN_IF_ERROR(add_file(directory, "a", content));
  return directory.commit();
}

Status create_status(const std::string& path) {
  return AtomicDirectory::create(Env::posix(), path).status();
}

std::string made_directory(const TempDir& dir, const std::string& name) {
  EXPECT_TRUE(std::filesystem::create_directory(dir.path(name)));
  return dir.path(name);
}

TEST(AtomicDirectory, AppearsWithAllItsFilesAtTheCommit) {
  const TempDir dir;
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok()) << out.status().message();
  ASSERT_TRUE(add_file(*out, "a", "first").ok());
  ASSERT_TRUE(add_file(*out, "b", "second").ok());
  EXPECT_THAT(dir.names(), ElementsAre(".out.winnow.tmp"));
  ASSERT_TRUE(out->commit().ok());
  EXPECT_THAT(dir.names(), ElementsAre("out"));
  EXPECT_THAT(names_in(dir.path("out")), ElementsAre("a", "b"));
  EXPECT_EQ(read_file(dir.path("out/a")) + read_file(dir.path("out/b")), "firstsecond");
}

TEST(AtomicDirectory, LeavesNothingWhereItIsAbandoned) {
  const TempDir dir;
  {
    Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE(add_file(*out, "a", "x").ok());
    AtomicDirectory moved = std::move(*out);
    out->abandon();
    EXPECT_THAT(dir.names(), ElementsAre(".out.winnow.tmp")) << "it is the other object's";
  }
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicDirectory, TakesNothingAfterItsEnd) {
  const TempDir dir;
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok());
  ASSERT_TRUE(out->commit().ok()) << "an empty directory is one too";
  out->abandon();
  EXPECT_EQ(out->commit().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(out->path_of("a").status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(out->copy_file("a", dir.path("b")).code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(names_in(dir.path("out")), IsEmpty());
  EXPECT_EQ(out->destination(), dir.path("out"));
}

TEST(AtomicDirectory, ReplacesAnEmptyDirectoryAndKeepsItsMode) {
  const TempDir dir;
  ASSERT_EQ(::chmod(made_directory(dir, "out").c_str(), 0700), 0);
  ASSERT_TRUE(write(dir.path("out/")).ok());
  EXPECT_THAT(names_in(dir.path("out")), ElementsAre("a"));
  EXPECT_EQ(stat_of(dir.path("out")).st_mode & 07777, 0700u);
}

TEST(AtomicDirectory, ReplacesTheTargetOfALinkAndKeepsTheLink) {
  const TempDir dir, elsewhere;
  const std::string target = made_directory(elsewhere, "target");
  std::filesystem::create_directory_symlink(target, dir.path("link"));
  ASSERT_TRUE(write(dir.path("link")).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(dir.path("link")));
  EXPECT_THAT(names_in(target), ElementsAre("a"));
  EXPECT_THAT(elsewhere.names(), ElementsAre("target"));
}

TEST(AtomicDirectory, RefusesWhatIsInUse) {
  const TempDir dir;
  write_file(made_directory(dir, "full") + "/precious", "x");
  std::filesystem::create_directory_symlink("full", dir.path("to-full"));
  std::filesystem::create_symlink("nowhere", dir.path("dangling"));
  write_file(dir.path("file"), "old");
  ASSERT_EQ(::mkfifo(dir.path("fifo").c_str(), 0600), 0);
  const auto before = dir.names();
  for (const auto& [name, code] : {std::pair("full", ErrorCode::kAlreadyExists),
                                   std::pair("to-full", ErrorCode::kAlreadyExists),
                                   std::pair("file", ErrorCode::kAlreadyExists),
                                   std::pair("dangling", ErrorCode::kUnsupportedFile),
                                   std::pair("fifo", ErrorCode::kUnsupportedFile)}) {
    const Status status = create_status(dir.path(name));
    EXPECT_EQ(status.code(), code) << name;
    EXPECT_THAT(std::string(status.message()), StartsWith(dir.path(name) + ": expected"));
    EXPECT_EQ(AtomicDirectory::check(Env::posix(), dir.path(name)).message(), status.message());
  }
  EXPECT_THAT(std::string(create_status(dir.path("full")).message()), HasSubstr("\"precious\""));
  EXPECT_EQ(dir.names(), before);
}

TEST(AtomicDirectory, RefusesPathsWithoutAName) {
  const TempDir dir;
  for (const std::string& path :
       {std::string(), std::string("/"), std::string("."), dir.path("."), dir.path("..") + "/"}) {
    EXPECT_EQ(create_status(path).code(), ErrorCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(create_status(dir.path("none/out")).system_error(), ENOENT);
}

TEST(AtomicDirectoryCheck, ClaimsNothing) {
  const TempDir dir;
  EXPECT_TRUE(AtomicDirectory::check(Env::posix(), dir.path("out")).ok());
  EXPECT_EQ(AtomicDirectory::check(Env::posix(), dir.path("none/out")).system_error(), ENOENT);
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(AtomicDirectory, DoesNotReplaceWhatCameInTheMeantime) {
  const TempDir dir;
  for (const bool as_directory : {false, true}) {
    Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
    ASSERT_TRUE(out.ok());
    const std::string theirs = as_directory ? made_directory(dir, "out") + "/b" : dir.path("out");
    write_file(theirs, "theirs");
    const Status status = out->commit();
    EXPECT_EQ(status.code(), as_directory ? ErrorCode::kAlreadyExists : ErrorCode::kIoError);
    EXPECT_EQ(read_file(theirs), "theirs");
    EXPECT_THAT(dir.names(), ElementsAre("out"));
    std::filesystem::remove_all(dir.path("out"));
  }
}

TEST(AtomicDirectory, RefusesNamesThatLeadOutOfIt) {
  const TempDir dir;
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok());
  for (const char* name : {"", "..", "../a", "/a"}) {
    EXPECT_EQ(out->path_of(name).status().code(), ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(out->path_of("a").value(), dir.path(".out.winnow.tmp/a"));
}

// What `meddle` does to a directory with the file `a` before the commit, and how that ends.
Status commit_after(const TempDir& dir, const std::function<void(AtomicDirectory&)>& meddle) {
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory out,
                          AtomicDirectory::create(Env::posix(), dir.path("out")));
  WINNOW_RETURN_IF_ERROR(add_file(out, "b", "x"));
  WINNOW_RETURN_IF_ERROR(out.add_directory("d"));
  WINNOW_RETURN_IF_ERROR(add_file(out, "d/b", "x"));
  meddle(out);
  const Status status = out.commit();
  EXPECT_FALSE(std::filesystem::exists(dir.path("out"))) << status.message();
  return status;
}

TEST(AtomicDirectory, IsNotPutInPlaceUnlessItHoldsWhatItShould) {
  const TempDir dir;
  std::optional<AtomicFile> open;
  const auto stage = [&](const char* name) { return dir.path(".out.winnow.tmp/") + name; };
  for (const auto& [meddle, name] :
       {std::pair<std::function<void(AtomicDirectory&)>, std::string>(
            [](AtomicDirectory& out) { ASSERT_TRUE(out.path_of("a").ok()); }, "\"a\""),
        {[](AtomicDirectory& out) { ASSERT_TRUE(out.path_of("c").ok()); }, "\"c\""},
        {[&](AtomicDirectory&) { std::filesystem::remove(stage("b")); }, "\"b\""},
        {[&](AtomicDirectory&) { write_file(stage("0"), "x"); }, "\"0\""},
        {[&](AtomicDirectory&) { write_file(stage("z"), "x"); }, "\"z\""},
        {[](AtomicDirectory& out) { ASSERT_TRUE(out.path_of("d/a").ok()); }, "\"d/a\""},
        {[&](AtomicDirectory&) { std::filesystem::remove(stage("d/b")); }, "\"d/b\""},
        {[&](AtomicDirectory&) { write_file(stage("d/z"), "x"); }, "\"d/z\""},
        {[&](AtomicDirectory&) { std::filesystem::create_directory(stage("e")); }, "\"e\""},
        {[&](AtomicDirectory& out) {
           open.emplace(AtomicFile::create(Env::posix(), out.path_of("c").value()).value());
         },
         ".c.winnow.tmp"}}) {
    const Status status = commit_after(dir, meddle);
    EXPECT_EQ(status.code(), ErrorCode::kCheckFailed);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
    EXPECT_THAT(dir.names(), IsEmpty());
  }
}

// A path through so many subdirectories: "d/d/d".
std::string nested(int depth) {
  std::string path = "d";
  for (int i = 1; i < depth; ++i) path += "/d";
  return path;
}

Status add_nested(AtomicDirectory& directory, int depth) {
  for (int i = 1; i <= depth; ++i) WINNOW_RETURN_IF_ERROR(directory.add_directory(nested(i)));
  return {};
}

TEST(AtomicDirectory, HoldsSubdirectoriesDownToTheLimit) {
  const TempDir dir;
  write_file(dir.path("in"), "copied");
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok());
  const std::string deepest = nested(AtomicDirectory::kMaxDepth);
  ASSERT_TRUE(add_nested(*out, AtomicDirectory::kMaxDepth).ok());
  ASSERT_TRUE(out->add_directory("empty").ok());
  ASSERT_TRUE(add_file(*out, "d/a", "written").ok());
  ASSERT_TRUE(out->copy_file(deepest + "/b", dir.path("in")).ok());
  EXPECT_THAT(dir.names(), ElementsAre(".out.winnow.tmp", "in"));
  const Status status = out->commit();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(names_below(dir.path("out")), ElementsAre("d/a", deepest + "/b"));
  EXPECT_EQ(read_file(dir.path("out/d/a")), "written");
  EXPECT_EQ(read_file(dir.path("out/") + deepest + "/b"), "copied");
  EXPECT_THAT(names_in(dir.path("out")), ElementsAre("d", "empty"));
  EXPECT_THAT(dir.names(), ElementsAre("in", "out"));
}

TEST(AtomicDirectory, IsAbandonedWhereASubdirectoryCannotBeMade) {
  const TempDir dir;
  const std::string too_deep = nested(AtomicDirectory::kMaxDepth + 1);
  for (const auto& [name, code] :
       {std::pair<std::string, StatusCode>("", ErrorCode::kInvalidArgument),
        {"..", ErrorCode::kInvalidArgument},
        {"/x", ErrorCode::kInvalidArgument},
        {"x/", ErrorCode::kInvalidArgument},
        {"d//x", ErrorCode::kInvalidArgument},
        {"d/../x", ErrorCode::kInvalidArgument},
        {"d/.x.winnow.tmp", ErrorCode::kInvalidArgument},
        {"none/x", ErrorCode::kInvalidArgument},
        {"b/x", ErrorCode::kInvalidArgument},
        {too_deep, ErrorCode::kInvalidArgument},
        {"b", ErrorCode::kAlreadyExists},
        {"d", ErrorCode::kAlreadyExists}}) {
    Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE(add_nested(*out, AtomicDirectory::kMaxDepth).ok());
    ASSERT_TRUE(out->path_of("b").ok()) << "not written yet";
    const Status status = out->add_directory(name);
    EXPECT_EQ(status.code(), code) << name << ": " << status.message();
    EXPECT_THAT(std::string(status.message()), StartsWith(dir.path("out")));
    EXPECT_THAT(dir.names(), IsEmpty()) << name;
    EXPECT_EQ(out->add_directory("e").code(), ErrorCode::kInvalidArgument);
  }
}

TEST(AtomicDirectory, RefusesFilesInSubdirectoriesThatItDoesNotHave) {
  const TempDir dir;
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok());
  ASSERT_TRUE(out->add_directory("d").ok());
  for (const char* name : {"d", "d/", "none/a", "d/../a", "d//a", "d/d/a", "d/.a.winnow.tmp"}) {
    EXPECT_EQ(out->path_of(name).status().code(), ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(out->path_of("d/a").value(), dir.path(".out.winnow.tmp/d/a"));
}

TEST(AtomicDirectory, CopiesFilesWithTheirBytesAndModes) {
  const TempDir dir;
  const std::string content = std::string(3'000'000, 'x') + "the end";
  write_file(dir.path("big"), content);
  write_file(dir.path("empty"), "");
  ASSERT_EQ(::chmod(dir.path("big").c_str(), 04751), 0);
  std::filesystem::create_symlink("big", dir.path("link"));
  Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(out.ok());
  for (const char* name : {"big", "empty", "link"}) {
    ASSERT_TRUE(out->copy_file(name, dir.path(name)).ok());
  }
  ASSERT_TRUE(out->commit().ok());
  EXPECT_EQ(read_file(dir.path("out/big")), content);
  EXPECT_EQ(read_file(dir.path("out/empty")), "");
  EXPECT_EQ(stat_of(dir.path("out/big")).st_mode, S_IFREG | 0751u);
  EXPECT_EQ(stat_of(dir.path("out/link")).st_mode, S_IFREG | 0751u) << "a file, not a link";
}

TEST(AtomicDirectory, IsAbandonedWhereACopyFails) {
  const TempDir dir;
  write_file(dir.path("in"), "x");
  for (const auto& [name, source] : {std::pair("a", dir.path("none")), std::pair("a", dir.root()),
                                     std::pair("b", dir.path("in"))}) {
    Result<AtomicDirectory> out = AtomicDirectory::create(Env::posix(), dir.path("out"));
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE(add_file(*out, "b", "x").ok());
    EXPECT_FALSE(out->copy_file(name, source).ok());
    EXPECT_THAT(dir.names(), ElementsAre("in"));
  }
}

TEST(AtomicDirectory, TellsThatASourceWasChangedWhileItWasCopied) {
  const TempDir dir;
  write_file(dir.path("in"), "x");
  FaultPlan plan;
  plan.before = [&](const std::string& call) {
    if (call == "append") write_file(dir.path("in"), "longer");
  };
  FaultEnv env(Env::posix(), plan);
  Result<AtomicDirectory> out = AtomicDirectory::create(env, dir.path("out"));
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->copy_file("a", dir.path("in")).code(), ErrorCode::kInputChanged);
}

TEST(AtomicDirectory, TellsASecondWriterThatTheFirstIsBusy) {
  const TempDir dir;
  Result<AtomicDirectory> first = AtomicDirectory::create(Env::posix(), dir.path("out"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(create_status(dir.path("out/")).code(), ErrorCode::kBusy);
  EXPECT_TRUE(create_status(dir.path("other")).ok());
  ASSERT_TRUE(add_file(*first, "a", "x").ok()) << "the second writer left the first alone";
  ASSERT_TRUE(first->commit().ok());
  EXPECT_EQ(create_status(dir.path("out")).code(), ErrorCode::kAlreadyExists);
}

TEST(AtomicDirectory, RemovesWhatAKilledWriterLeft) {
  const TempDir dir;
  const std::string stage = made_directory(dir, ".out.winnow.tmp");
  write_file(stage + "/a", "whole");
  write_file(stage + "/.b.winnow.tmp", "half of a fi");
  const std::string deepest = stage + "/" + nested(AtomicDirectory::kMaxDepth);
  std::filesystem::create_directories(deepest);
  write_file(deepest + "/.c.winnow.tmp", "half of a fi");
  ASSERT_TRUE(write(dir.path("out")).ok());
  EXPECT_THAT(dir.names(), ElementsAre("out"));
  EXPECT_THAT(names_in(dir.path("out")), ElementsAre("a"));
}

TEST(AtomicDirectory, DoesNotTouchWhatOnlyLooksLikeALeftover) {
  const TempDir dir;
  const std::string stage = made_directory(dir, ".out.winnow.tmp");
  write_file(stage + "/a", "x");
  std::filesystem::create_symlink("/dev/null", stage + "/link");
  const Status status = create_status(dir.path("out"));
  EXPECT_EQ(status.code(), ErrorCode::kUnsupportedFile);
  EXPECT_THAT(std::string(status.message()), HasSubstr(stage + "/link"));
  EXPECT_THAT(names_in(stage), ElementsAre("a", "link")) << "none or all";
  std::filesystem::remove(stage + "/link");
  // Elsewhere, so that what a link leads to would be seen to go.
  const TempDir elsewhere;
  write_file(elsewhere.path("theirs"), "x");
  const std::string deepest = nested(AtomicDirectory::kMaxDepth);
  std::filesystem::create_directories(stage + "/" + deepest);
  const std::string foreign = stage + "/" + deepest + "/z";
  for (const bool as_link : {true, false}) {
    if (as_link) {
      std::filesystem::create_directory_symlink(elsewhere.root(), foreign);
    } else {
      std::filesystem::create_directory(foreign);
    }
    const Status nested_status = create_status(dir.path("out"));
    EXPECT_EQ(nested_status.code(), ErrorCode::kUnsupportedFile);
    EXPECT_THAT(std::string(nested_status.message()), HasSubstr(foreign));
    EXPECT_THAT(names_in(stage), ElementsAre("a", "d")) << "none or all";
    std::filesystem::remove(foreign);
  }
  EXPECT_THAT(elsewhere.names(), ElementsAre("theirs"));
  std::filesystem::remove_all(stage);
  write_file(stage, "x");
  EXPECT_EQ(create_status(dir.path("out")).code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(read_file(stage), "x");
}

// What others do between the creation of the temporary directory and its lock.
TEST(AtomicDirectory, StartsAgainWhereItWasTakenForALeftover) {
  for (const char* moment : {"try_lock_directory", "link_info"}) {
    const TempDir dir;
    bool is_created = false, met = false;
    FaultPlan plan;
    plan.before = [&](const std::string& call) {
      if (is_created && !met && call == moment) {
        met = std::filesystem::remove(dir.path(".out.winnow.tmp"));
      }
      is_created = is_created || call == "create_directory";
    };
    FaultEnv env(Env::posix(), plan);
    const Status status = AtomicDirectory::create(env, dir.path("out")).status();
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(met);
  }
}

}  // namespace
}  // namespace winnow
