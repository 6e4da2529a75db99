#include "winnow/io/torch_archive_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "io/fault_env.h"
#include "io/temp_dir.h"
#include "support/torch_image.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h
using ::testing::HasSubstr;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string tensors() {
  const auto tensor = [](const std::string& number, int64_t numel) {
    return pkl::tensor(pkl::storage("ByteStorage", numel, number), {numel}, {1});
  };
  return pkl::program("](" + tensor("0", 9) + tensor("1", 0) + tensor("2", 3'000'000) + "e");
}

// Storage 0 with its CRC in front of it, 2 with a descriptor, as torch writes it.
ZipImage image_of(const std::string& first, const std::string& last) {
  ZipImage image = archive_image(tensors(), {first, "", last});
  image.entries[4] = torch_entry("a/data/2", last);
  return image;
}

class TorchArchiveCopyTest : public ::testing::Test {
 protected:
  TorchArchiveCopyTest() { write_file(dir_.path("in"), image_of(first_, last_).build()); }

  TorchArchive open() const { return TorchArchive::open(Env::posix(), dir_.path("in")).value(); }

  Status copy(Env& env, const std::vector<std::tuple<size_t, uint64_t, std::string>>& changes) {
    Result<TorchArchive> archive = TorchArchive::open(env, dir_.path("in"));
    if (!archive.ok()) return archive.status();
    Result<TorchArchiveCopy> copy =
        TorchArchiveCopy::create(env, dir_.path("out"), *archive, {.overwrite = true});
    if (!copy.ok()) return copy.status();
    for (const auto& [storage, offset, data] : changes) {
      const Status status = copy->replace(storage, offset, bytes(data));
      if (!status.ok()) return status;
    }
    return copy->commit();
  }

  const std::string first_ = "123456789";
  const std::string last_ = std::string(3'000'000, 'x');
  TempDir dir_;
};

TEST_F(TorchArchiveCopyTest, WithoutChangesIsTheSameFile) {
  ASSERT_TRUE(copy(Env::posix(), {}).ok());
  EXPECT_EQ(read_file(dir_.path("out")), read_file(dir_.path("in")));
  ASSERT_TRUE(copy(Env::posix(), {{0, 2, "345"}, {2, 5, "xx"}}).ok());
  EXPECT_EQ(read_file(dir_.path("out")), read_file(dir_.path("in")));
}

// The expected file is built from the changed payloads, checksums included.
TEST_F(TorchArchiveCopyTest, ChangesPayloadsAndTheirChecksumsAndNothingElse) {
  std::string last = last_;
  const std::string long_change(1'500'000, 'y');
  last.replace(1'000'001, long_change.size(), long_change).replace(2'999'999, 1, "z");
  const Status status = copy(Env::posix(), {{0, 0, "ab"},
                                            {0, 2, "c"},
                                            {0, 8, "d"},
                                            {1, 0, ""},
                                            {2, 1'000'001, long_change},
                                            {2, 2'999'999, "z"}});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read_file(dir_.path("out")), image_of("abc45678d", last).build());
}

TEST_F(TorchArchiveCopyTest, KeepsAnArchiveWithoutChecksumsAsItIs) {
  write_file(dir_.path("in"), without_checksums(image_of(first_, last_)).build());
  const TorchArchive archive =
      TorchArchive::open(Env::posix(), dir_.path("in"), {.allow_missing_checksums = true}).value();
  TorchArchiveCopy copy = TorchArchiveCopy::create(Env::posix(), dir_.path("out"), archive).value();
  ASSERT_TRUE(copy.replace(0, 0, bytes("a")).ok());
  ASSERT_TRUE(copy.commit().ok());
  EXPECT_EQ(read_file(dir_.path("out")), without_checksums(image_of("a23456789", last_)).build());
}

TEST_F(TorchArchiveCopyTest, RefusesRangesThatAreNotThereOrNotInOrder) {
  for (const auto& changes : std::vector<std::vector<std::tuple<size_t, uint64_t, std::string>>>{
           {{3, 0, "a"}},
           {{0, 9, "a"}},
           {{0, 10, ""}},
           {{2, 0, "a"}, {0, 0, "a"}},
           {{0, 3, "abc"}, {0, 5, "a"}}}) {
    EXPECT_EQ(copy(Env::posix(), changes).code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
  }
}

// In any record, replaced or not: no damage gets a right checksum.
TEST_F(TorchArchiveCopyTest, FindsDamageInEveryRecord) {
  const std::string image = image_of(first_, last_).build();
  for (const std::string text : {"123456789", "xxx"}) {
    std::string damaged = image;
    damaged[image.rfind(text)] ^= 1;
    write_file(dir_.path("in"), damaged);
    for (const char* data : {"", "a"}) {
      const Status status = copy(Env::posix(), {{0, 0, data}, {2, last_.size() - 1, data}});
      EXPECT_EQ(status.code(), ZipError::kZipCrc);
      EXPECT_THAT(std::string(status.message()), HasSubstr("record \"data/"));
      EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
    }
  }
}

TEST_F(TorchArchiveCopyTest, EveryFailingCallLeavesTheOldFiles) {
  write_file(dir_.path("out"), "precious");
  const auto names = dir_.names();
  const std::string input = read_file(dir_.path("in"));
  int failures = 0;
  const auto write = [&](Env& env) { return copy(env, {{0, 3, "a"}, {2, 2'000'000, "b"}}); };
  const auto check = [&](const FailedRun& run) {
    if (run.status.code() == ErrorCode::kNotDurable || run.status.ok()) {
      write_file(dir_.path("out"), "precious");
      return;
    }
    ++failures;
    EXPECT_EQ(run.status.code(), ErrorCode::kIoError) << run.what << ": " << run.status.message();
    if (run.call == "remove") return;
    EXPECT_EQ(dir_.names(), names) << run.what;
    ASSERT_EQ(read_file(dir_.path("out")), "precious") << run.what;
    ASSERT_EQ(read_file(dir_.path("in")), input);
  };
  for_each_failing_call({.error = EIO}, write, check);
  EXPECT_GT(failures, 20);
}

TEST_F(TorchArchiveCopyTest, AnInputThatChangesMeanwhileGivesNoOutput) {
  const TorchArchive archive = open();
  TorchArchiveCopy copy = TorchArchiveCopy::create(Env::posix(), dir_.path("out"), archive).value();
  write_file(dir_.path("in"), image_of(first_, last_).build());
  EXPECT_EQ(copy.commit().code(), ErrorCode::kInputChanged);
  EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
}

}  // namespace
}  // namespace winnow
