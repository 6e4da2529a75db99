#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "io/fault_env.h"
#include "io/header_text.h"
#include "io/temp_dir.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

using testing::entry;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::write_file;

// A file of two tensors: a = "0123", b = "456789AB".
std::string two_tensors() {
  const std::string text =
      testing::header({entry("a", "U8", "[4]", 0, 4), entry("b", "U8", "[2,4]", 4, 12)});
  const std::vector<std::byte> image = testing::image(text, 0);
  return std::string(reinterpret_cast<const char*>(image.data()), image.size()) + "0123456789AB";
}

std::string read_text(const SafetensorsFile& file, size_t tensor, uint64_t offset, size_t count) {
  std::string out(count, '?');
  const Status status =
      file.read(file.header().tensors()[tensor], offset, std::as_writable_bytes(std::span(out)));
  return status.ok() ? out : std::string(status.code().name);
}

Status open_status(const std::string& path) {
  return SafetensorsFile::open(Env::posix(), path).status();
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  SafetensorsFileTest() { write_file(path_, two_tensors()); }

  SafetensorsFile opened() {
    Result<SafetensorsFile> file = SafetensorsFile::open(Env::posix(), path_);
    EXPECT_TRUE(file.ok()) << file.status().message();
    return std::move(file).value();
  }

  TempDir dir_;
  const std::string path_ = dir_.path("model.safetensors");
};

TEST_F(SafetensorsFileTest, ReadsAnyRangeOfATensor) {
  const SafetensorsFile file = opened();
  EXPECT_EQ(read_text(file, 0, 0, 4), "0123");
  EXPECT_EQ(read_text(file, 1, 0, 8), "456789AB");
  EXPECT_EQ(read_text(file, 1, 3, 2), "78");
  EXPECT_EQ(read_text(file, 1, 8, 0), "");
  EXPECT_TRUE(file.check_unchanged().ok());
  EXPECT_EQ(file.identity().size, two_tensors().size());
}

TEST_F(SafetensorsFileTest, RefusesRangesThatLeaveTheTensor) {
  const SafetensorsFile file = opened();
  EXPECT_EQ(read_text(file, 0, 0, 5), "InvalidArgument");
  EXPECT_EQ(read_text(file, 0, 5, 0), "InvalidArgument");
  EXPECT_EQ(read_text(file, 0, ~uint64_t{0}, 2), "InvalidArgument");
}

TEST_F(SafetensorsFileTest, ReadsFromManyThreads) {
  const SafetensorsFile file = opened();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) EXPECT_EQ(read_text(file, 1, 2, 4), "6789");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SafetensorsFileTest, NoticesThatTheFileWasCutShort) {
  const SafetensorsFile file = opened();
  std::filesystem::resize_file(path_, two_tensors().size() - 1);
  EXPECT_EQ(read_text(file, 1, 0, 8), "InputChanged");
  EXPECT_EQ(read_text(file, 0, 0, 4), "0123");
  EXPECT_EQ(file.check_unchanged().code(), ErrorCode::kInputChanged);
}

TEST_F(SafetensorsFileTest, NoticesThatTheFileWasWrittenTo) {
  const SafetensorsFile file = opened();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the clock of file times is coarse
  std::string other = two_tensors();
  other.back() = 'X';
  write_file(path_, other);
  EXPECT_EQ(file.check_unchanged().code(), ErrorCode::kInputChanged);
}

TEST_F(SafetensorsFileTest, KeepsReadingAFileThatWasReplaced) {
  const SafetensorsFile file = opened();
  write_file(dir_.path("new"), "something else");
  std::filesystem::rename(dir_.path("new"), path_);
  EXPECT_EQ(read_text(file, 1, 0, 8), "456789AB");
}

TEST_F(SafetensorsFileTest, FollowsSymbolicLinks) {
  std::filesystem::create_symlink("model.safetensors", dir_.path("link"));
  EXPECT_TRUE(open_status(dir_.path("link")).ok());
}

TEST_F(SafetensorsFileTest, RefusesWhatIsNotAFileWithoutBlocking) {
  ASSERT_EQ(::mkfifo(dir_.path("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("nowhere", dir_.path("dangling"));
  EXPECT_EQ(open_status(dir_.path("fifo")).code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(open_status(dir_.path("dangling")).code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(open_status(dir_.root()).code(), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(open_status("/dev/null").code(), ErrorCode::kUnsupportedFile);
}

TEST_F(SafetensorsFileTest, SaysWhyAFileCannotBeOpened) {
  const Status status = open_status(dir_.path("missing"));
  EXPECT_EQ(status.code(), ErrorCode::kIoError);
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file or directory"));
}

TEST_F(SafetensorsFileTest, ChecksTheHeaderAgainstTheSizeOfTheFile) {
  const std::string good = two_tensors();
  const auto code_of = [&](const std::string& content) {
    write_file(path_, content);
    const Status status = open_status(path_);
    EXPECT_TRUE(status.ok() || status.message().starts_with(path_ + ": ")) << status.message();
    return status.code();
  };
  EXPECT_EQ(code_of(""), SafetensorsError::kFileTooShort);
  EXPECT_EQ(code_of(good.substr(0, 7)), SafetensorsError::kFileTooShort);
  EXPECT_EQ(code_of(good.substr(0, 8)), SafetensorsError::kHeaderPastEnd);
  EXPECT_EQ(code_of(std::string(8, '\0')), SafetensorsError::kHeaderEmpty);
  EXPECT_EQ(code_of(std::string(16, '\xFF')), SafetensorsError::kHeaderTooLarge);
  EXPECT_THAT(std::string(open_status(path_).message()), HasSubstr("is it a safetensors file?"));
  EXPECT_EQ(code_of("PK\3\4 and so on"), SafetensorsError::kHeaderTooLarge);
  EXPECT_THAT(std::string(open_status(path_).message()), HasSubstr("a zip, as torch.save writes"));
  EXPECT_EQ(code_of("PK\3\4"), SafetensorsError::kFileTooShort);
  EXPECT_THAT(std::string(open_status(path_).message()), HasSubstr("a zip, as torch.save writes"));
  EXPECT_EQ(code_of(good.substr(0, good.size() - 1)), SafetensorsError::kDataPastEnd);
  EXPECT_EQ(code_of(good + "x"), SafetensorsError::kTrailingData);
  EXPECT_EQ(code_of(good), ErrorCode::kOk);
}

TEST_F(SafetensorsFileTest, ReportsEveryFailingCall) {
  testing::FaultPlan counting;
  testing::FaultEnv counting_env(Env::posix(), counting);
  ASSERT_TRUE(SafetensorsFile::open(counting_env, path_).ok());
  const size_t descriptors = testing::open_descriptors();
  for (int k = 1; k <= static_cast<int>(counting.calls.size()); ++k) {
    testing::FaultPlan plan{.fail_at = k, .error = EIO};
    testing::FaultEnv env(Env::posix(), plan);
    const Status status = SafetensorsFile::open(env, path_).status();
    EXPECT_EQ(status.code(), ErrorCode::kIoError) << k;
    EXPECT_THAT(std::string(status.message()), HasSubstr("Input/output error"));
    EXPECT_EQ(testing::open_descriptors(), descriptors);
  }
}

}  // namespace
}  // namespace winnow
