// Files of a directory replaced together: what is replaced and how, who else may, and every call
// made to fail or to be the last one. Power cuts: power_loss_test.cc.
#include "winnow/io/atomic_file_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/fault_env.h"
#include "io/file/journal.h"
#include "io/temp_dir.h"
#include "winnow/io/error_codes.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FaultEnv;
using testing::FaultPlan;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::open_descriptors;
using testing::read_file;
using ::testing::StartsWith;
using testing::stat_of;
using testing::TempDir;
using testing::write_file;

using Files = std::map<std::string, std::string>;
const Files kOld = {{"config", "same"}, {"index", "old"}, {"shard1", "old 1"}, {"stale", "old"}};
const Files kNew = {
    {"config", "same"}, {"index", "the new index"}, {"shard1", "new 1"}, {"shard2", "new 2"}};

Status replace(Env& env, AtomicFileSet& set, const std::string& name, std::string_view content) {
  WINNOW_ASSIGN_OR_RETURN(const StagedFile staged, set.replace(name));
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, staged.path, staged.options));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(content)));
  return file.commit();
}

// The old files, and the change that makes the new ones of them.
class Scene {
 public:
  Scene() {
    for (const auto& [name, content] : kOld) write_file(dir.path(name), content);
  }

  Status write(Env& env) const {
    WINNOW_ASSIGN_OR_RETURN(AtomicFileSet set, AtomicFileSet::create(env, dir.root()));
    WINNOW_RETURN_IF_ERROR(set.remove("stale"));
    for (const char* name : {"shard1", "shard2", "index"}) {
      WINNOW_RETURN_IF_ERROR(replace(env, set, name, kNew.at(name)));
    }
    return set.commit();
  }
  Status write(FaultPlan& plan) const {
    FaultEnv env(Env::posix(), plan);
    return write(env);
  }
  // Lets a run die before its call `k`; false if it has fewer.
  bool write_and_die(int k) const {
    const pid_t child = ::fork();
    if (child == 0) {
      FaultPlan plan{.kill_at = k, .tear = k % 2 == 0};
      (void)write(plan);
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
  }

  Files files() const {
    Files out;
    for (const std::string& name : dir.names()) {
      if (std::filesystem::is_regular_file(dir.path(name))) out[name] = read_file(dir.path(name));
    }
    return out;
  }
  bool is_interrupted() const {
    return AtomicFileSet::is_interrupted(Env::posix(), dir.root()).value();
  }
  Result<Recovery> recover() const { return AtomicFileSet::recover(Env::posix(), dir.root()); }

  TempDir dir;
};

std::vector<std::string> calls_of_write() {
  const Scene scene;
  FaultPlan plan;
  EXPECT_TRUE(scene.write(plan).ok());
  return plan.calls;
}

TEST(AtomicFileSet, ReplacesAddsAndRemovesFilesTogether) {
  const Scene scene;
  const Status status = scene.write(Env::posix());
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(scene.files(), kNew);
  EXPECT_EQ(scene.recover().value(), Recovery::kNothing);
}

TEST(AtomicFileSet, ChangesNothingBeforeTheCommit) {
  const Scene scene;
  {
    Result<AtomicFileSet> set = AtomicFileSet::create(Env::posix(), scene.dir.root());
    ASSERT_TRUE(set.ok());
    ASSERT_TRUE(set->remove("stale").ok());
    ASSERT_TRUE(replace(Env::posix(), *set, "index", "new").ok());
    for (const auto& [name, content] : kOld) EXPECT_EQ(read_file(scene.dir.path(name)), content);
    EXPECT_FALSE(scene.is_interrupted());
    AtomicFileSet moved = std::move(*set);
    set->abandon();
    EXPECT_THAT(scene.dir.names(), Contains(".index.winnow.new")) << "it is the other object's";
  }
  EXPECT_EQ(scene.files(), kOld);
}

TEST(AtomicFileSet, RenamesInOrderAndRemovesLast) {
  const Scene scene;
  std::vector<Files> states;
  FaultPlan plan;
  plan.before = [&](const std::string& call) {
    if (call == "rename" && scene.is_interrupted()) states.push_back(scene.files());
  };
  ASSERT_TRUE(scene.write(plan).ok());
  ASSERT_EQ(states.size(), 3u);
  EXPECT_EQ(states[1].at("shard1"), kNew.at("shard1"));
  EXPECT_FALSE(states[1].contains("shard2"));
  EXPECT_EQ(states[2].at("shard2"), kNew.at("shard2"));
  EXPECT_EQ(states[2].at("index"), kOld.at("index"));
  EXPECT_TRUE(states[2].contains("stale"));
}

TEST(AtomicFileSet, KeepsThePermissionsOfTheOldFiles) {
  const Scene scene;
  ASSERT_EQ(::chmod(scene.dir.path("index").c_str(), 0640), 0);
  ASSERT_TRUE(scene.write(Env::posix()).ok());
  EXPECT_EQ(stat_of(scene.dir.path("index")).st_mode & 07777, 0640u);
}

TEST(AtomicFileSet, TakesNothingAfterItsEnd) {
  const Scene scene;
  Result<AtomicFileSet> set = AtomicFileSet::create(Env::posix(), scene.dir.root());
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE(set->commit().ok()) << "no change is one too";
  set->abandon();
  EXPECT_EQ(set->commit().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(set->replace("a").status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(set->remove("a").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(scene.files(), kOld);
}

TEST(AtomicFileSet, RefusesFilesThatItCannotReplace) {
  const Scene scene;
  std::filesystem::create_directory(scene.dir.path("directory"));
  std::filesystem::create_symlink("config", scene.dir.path("link"));
  const std::string blob(64, 'a');
  write_file(scene.dir.path(blob), "x");
  Result<AtomicFileSet> set = AtomicFileSet::create(Env::posix(), scene.dir.root());
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE(set->remove("stale").ok());
  for (const auto& [name, code] : {std::pair(std::string("../out"), ErrorCode::kInvalidArgument),
                                   std::pair(std::string("a\nb"), ErrorCode::kInvalidArgument),
                                   std::pair(std::string(201, 'n'), ErrorCode::kInvalidArgument),
                                   std::pair(std::string("stale"), ErrorCode::kInvalidArgument),
                                   std::pair(std::string("directory"), ErrorCode::kUnsupportedFile),
                                   std::pair(std::string("link"), ErrorCode::kUnsupportedFile),
                                   std::pair(blob, ErrorCode::kNamedByHash)}) {
    const Status status = set->replace(name).status();
    EXPECT_EQ(status.code(), code) << name;
    EXPECT_THAT(std::string(status.message()), StartsWith(scene.dir.root() + ": "));
  }
  EXPECT_FALSE(set->remove("directory").ok());
  EXPECT_TRUE(set->replace(std::string(200, 'n')).ok());
}

TEST(AtomicFileSet, ChangesNothingWhereAFileWasNotWritten) {
  const Scene scene;
  Result<AtomicFileSet> set = AtomicFileSet::create(Env::posix(), scene.dir.root());
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE(replace(Env::posix(), *set, "index", "new").ok());
  ASSERT_TRUE(set->replace("shard1").ok());
  EXPECT_EQ(set->commit().code(), ErrorCode::kCheckFailed);
  EXPECT_EQ(scene.files(), kOld);
}

TEST(AtomicFileSet, KeepsOthersOutOfTheDirectory) {
  const Scene scene;
  const Result<AtomicFileSet> first = AtomicFileSet::create(Env::posix(), scene.dir.root());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(AtomicFileSet::create(Env::posix(), scene.dir.root()).status().code(),
            ErrorCode::kBusy);
  EXPECT_EQ(scene.recover().status().code(), ErrorCode::kBusy);
}

TEST(AtomicFileSet, NeedsADirectory) {
  const Scene scene;
  EXPECT_EQ(AtomicFileSet::create(Env::posix(), scene.dir.path("none")).status().system_error(),
            ENOENT);
  EXPECT_EQ(AtomicFileSet::create(Env::posix(), scene.dir.path("index")).status().code(),
            ErrorCode::kUnsupportedFile);
}

// The temporary file of a single writer, which does not take the directory's lock.
TEST(AtomicFileSet, LeavesFilesThatOthersAreWriting) {
  const Scene scene;
  const Result<AtomicFile> single = AtomicFile::create(Env::posix(), scene.dir.path("other"));
  ASSERT_TRUE(single.ok());
  write_file(scene.dir.path(".index.winnow.new"), "left");
  EXPECT_EQ(scene.recover().value(), Recovery::kRolledBack);
  EXPECT_THAT(scene.dir.names(), Contains(".other.winnow.tmp"));
  EXPECT_THAT(scene.dir.names(), ::testing::Not(Contains(".index.winnow.new")));
}

TEST(AtomicFileSetFaults, AtAnyCallLeaveOldFilesOrADecidedChange) {
  const std::vector<std::string> calls = calls_of_write();
  const int last = static_cast<int>(calls.size());
  int decided = 0;
  for (const int error : {ENOSPC, EIO}) {
    for (int k = 1; k <= last; ++k) {
      SCOPED_TRACE(std::to_string(k) + " " + calls[static_cast<size_t>(k) - 1]);
      const Scene scene;
      const size_t descriptors = open_descriptors();
      FaultPlan plan{.fail_at = k, .tear = k % 2 == 0, .error = error};
      const Status status = scene.write(plan);
      EXPECT_EQ(open_descriptors(), descriptors);
      EXPECT_FALSE(status.ok());
      EXPECT_TRUE(k < last || status.code() == ErrorCode::kNotDurable);
      if (scene.is_interrupted()) {
        ++decided;
        EXPECT_THAT(std::string(status.message()), HasSubstr("the next write to this directory"));
        EXPECT_EQ(scene.recover().value(), Recovery::kFinished);
        EXPECT_EQ(scene.files(), kNew);
        continue;
      }
      EXPECT_EQ(scene.files(), k == last ? kNew : kOld);
    }
  }
  EXPECT_GT(decided, 10);
}

// Neither can the new contents be removed.
TEST(AtomicFileSetFaults, OfABrokenDiskLeaveWhatTheNextRunRepairs) {
  const int last = static_cast<int>(calls_of_write().size());
  for (int k = 1; k <= last; ++k) {
    SCOPED_TRACE(k);
    const Scene scene;
    FaultPlan plan{.fail_at = k, .stay_broken = true, .tear = true, .error = EIO};
    EXPECT_FALSE(scene.write(plan).ok());
    const bool was_decided = scene.is_interrupted() || k == last;
    EXPECT_TRUE(scene.recover().ok());
    EXPECT_EQ(scene.files(), was_decided ? kNew : kOld);
  }
}

TEST(AtomicFileSetFaults, DuringARecoveryLeaveWhatTheNextOneFinishes) {
  const int die_at = static_cast<int>(calls_of_write().size()) - 5;  // among the renames
  int last = 0;
  for (int k = 0; k <= last; ++k) {
    SCOPED_TRACE(k);
    const Scene scene;
    ASSERT_TRUE(scene.write_and_die(die_at));
    ASSERT_TRUE(scene.is_interrupted());
    FaultPlan plan{.fail_at = k, .error = EIO};
    FaultEnv env(Env::posix(), plan);
    const Result<Recovery> recovered = AtomicFileSet::recover(env, scene.dir.root());
    EXPECT_EQ(recovered.ok(), k == 0);
    if (k == 0) last = static_cast<int>(plan.calls.size());
    EXPECT_TRUE(scene.recover().ok());
    EXPECT_EQ(scene.files(), kNew);
  }
}

TEST(AtomicFileSetCrash, AtEveryCallIsRolledBackOrFinished) {
  int finished = 0;
  for (int k = 1;; ++k) {
    SCOPED_TRACE(k);
    const Scene scene;
    if (!scene.write_and_die(k)) break;
    const bool was_decided = scene.is_interrupted();
    const Recovery recovery = scene.recover().value();
    EXPECT_EQ(recovery == Recovery::kFinished, was_decided);
    EXPECT_TRUE(scene.files() == kNew || (scene.files() == kOld && !was_decided));
    finished += was_decided ? 1 : 0;
  }
  EXPECT_GT(finished, 5);
}

// A journal beside the old files, and what a recovery says to it.
Status recover_with(const Scene& scene, const std::string& journal) {
  write_file(scene.dir.path(".winnow.journal"), journal);
  const Files before = scene.files();
  const Status status = scene.recover().status();
  EXPECT_TRUE(status.ok() || scene.files() == before) << "checked, then touched";
  std::filesystem::remove(scene.dir.path(".winnow.journal"));
  return status;
}

TEST(Journal, GivesBackWhatWasWritten) {
  const std::vector<io::JournalEntry> entries = {
      {"a b", false, 18'446'744'073'709'551'615u}, {"index", false, 0}, {"remove 1 x", true, 0}};
  const auto parsed = io::parse_journal(io::journal_text(entries)).value();
  ASSERT_EQ(parsed.size(), entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(parsed[i].name, entries[i].name);
    EXPECT_EQ(parsed[i].removes, entries[i].removes);
    EXPECT_EQ(parsed[i].bytes, entries[i].bytes);
  }
}

// With a checksum that is right, so that the fault itself is met.
TEST(Journal, ThatIsDamagedOrHostileIsRefused) {
  for (const std::vector<io::JournalEntry>& entries :
       std::vector<std::vector<io::JournalEntry>>{{{"../out", false, 1}},
                                                  {{"/etc/passwd", true, 0}},
                                                  {{"..", true, 0}},
                                                  {{"", true, 0}},
                                                  {{".winnow.journal", true, 0}},
                                                  {{std::string(201, 'n'), true, 0}},
                                                  {{"a", true, 0}, {"a", false, 1}},
                                                  {{std::string("a\0b", 3), true, 0}},
                                                  {{"a\nmove b", true, 0}},
                                                  {{"a\n", true, 0}}}) {
    const Scene scene;
    EXPECT_EQ(recover_with(scene, io::journal_text(entries)).code(), JournalError::kBadJournal)
        << entries[0].name;
  }
  const std::string good = io::journal_text(std::vector<io::JournalEntry>{{"stale", true, 0}});
  for (size_t i = 0; i < good.size(); ++i) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_EQ(io::parse_journal(flipped).status().code(), JournalError::kBadJournal) << i;
    EXPECT_EQ(io::parse_journal(good.substr(0, i)).status().code(), JournalError::kBadJournal) << i;
  }
  EXPECT_FALSE(io::parse_journal(good + "\n").ok());
  const Scene scene;
  EXPECT_EQ(recover_with(scene, std::string(io::kMaxJournalBytes + 1, 'x')).code(),
            JournalError::kBadJournal);
  EXPECT_TRUE(recover_with(scene, good).ok());
}

TEST(Journal, HasNumbersInOneFormOnly) {
  const auto parse = [](const std::string& size) {
    const std::string text = "winnow journal 1\nreplace " + size + " a\n";
    return io::parse_journal(text + io::checksum_line(text)).status().code();
  };
  EXPECT_EQ(parse("7"), ErrorCode::kOk);
  for (const char* size : {"07", "+7", "-7", "", "7x", "0x7", "18446744073709551616"}) {
    EXPECT_EQ(parse(size), JournalError::kBadJournal) << size;
  }
}

TEST(Journal, HasNoMoreNamesThanASetTakes) {
  std::vector<io::JournalEntry> entries(io::kMaxJournalEntries, {.name = "", .removes = true});
  for (size_t i = 0; i < entries.size(); ++i) entries[i].name = std::to_string(i);
  EXPECT_TRUE(io::parse_journal(io::journal_text(entries)).ok());
  entries.push_back({.name = "one more", .removes = true});
  EXPECT_EQ(io::parse_journal(io::journal_text(entries)).status().code(),
            JournalError::kBadJournal);
}

TEST(Journal, ThatDoesNotFitTheFilesIsRefused) {
  const auto recovered = [](const Scene& scene, const io::JournalEntry& entry) {
    return recover_with(scene, io::journal_text(std::vector<io::JournalEntry>{
                                   {.name = "stale", .removes = true}, entry}))
        .code();
  };
  const Scene scene;
  const uint64_t old_bytes = kOld.at("index").size();
  write_file(scene.dir.path(".config.winnow.new"), "new");
  EXPECT_EQ(recovered(scene, {"index", false, old_bytes + 1}), JournalError::kJournalMismatch);
  EXPECT_EQ(recovered(scene, {"none", false, 0}), JournalError::kJournalMismatch);
  EXPECT_EQ(recovered(scene, {"config", false, 2}), JournalError::kJournalMismatch);
  std::filesystem::create_directory(scene.dir.path("directory"));
  EXPECT_EQ(recovered(scene, {"directory", true, 0}), JournalError::kJournalMismatch);
  std::filesystem::create_symlink("/dev/null", scene.dir.path(".index.winnow.new"));
  EXPECT_EQ(recovered(scene, {"index", false, 9}), JournalError::kJournalMismatch);
  EXPECT_EQ(read_file(scene.dir.path("stale")), kOld.at("stale"));
}

}  // namespace
}  // namespace winnow
