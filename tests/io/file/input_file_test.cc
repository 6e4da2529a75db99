#include "winnow/io/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <string>

#include "io/fault_env.h"
#include "io/temp_dir.h"

namespace winnow {
namespace {

using testing::FaultEnv;
using testing::FaultPlan;
using testing::TempDir;
using testing::write_file;

class InputFileTest : public ::testing::Test {
 protected:
  InputFileTest() { write_file(path_, "0123456789"); }

  InputFile opened(Env& env = Env::posix()) { return InputFile::open(env, path_).value(); }

  // How often the message has the file's name.
  size_t names_in(const Status& status) const {
    size_t count = 0;
    const std::string_view text = status.message();
    for (size_t at = text.find(path_); at != text.npos; at = text.find(path_, at + 1)) ++count;
    return count;
  }

  TempDir dir_;
  const std::string path_ = dir_.path("in");
  std::array<std::byte, 4> buffer_ = {};
};

TEST_F(InputFileTest, ReadsExactlyWhatIsAskedFor) {
  const InputFile file = opened();
  EXPECT_EQ(file.size(), 10u);
  ASSERT_TRUE(file.read(6, buffer_).ok());
  EXPECT_EQ(buffer_[3], std::byte{'9'});
  EXPECT_TRUE(file.check_unchanged().ok());
}

TEST_F(InputFileTest, ReadsItsFront) {
  const InputFile file = opened();
  EXPECT_EQ(file.read_front(4).value(), "0123");
  EXPECT_EQ(file.read_front(0).value(), "");
  EXPECT_EQ(file.read_front(11).value(), "0123456789");
}

TEST_F(InputFileTest, NoticesThatTheFileGotShorter) {
  const InputFile file = opened();
  std::filesystem::resize_file(path_, 9);
  EXPECT_EQ(file.read_front(11).status().code(), ErrorCode::kInputChanged);
  for (const Status& status : {file.read(6, buffer_), file.check_unchanged()}) {
    EXPECT_EQ(status.code(), ErrorCode::kInputChanged);
    EXPECT_EQ(names_in(status), 1u) << status.message();
  }
  EXPECT_TRUE(file.read(5, buffer_).ok());
}

TEST_F(InputFileTest, NamesEveryErrorOnce) {
  const InputFile file = opened();
  const Status malformed = file.named(Status(ErrorCode::kNanValue, "a NaN"));
  EXPECT_EQ(malformed.message(), path_ + ": a NaN");
  std::filesystem::resize_file(path_, 9);
  EXPECT_EQ(names_in(file.named(file.read(6, buffer_))), 1u);
  EXPECT_TRUE(file.named(Status()).ok());
  EXPECT_EQ(names_in(InputFile::open(Env::posix(), path_ + "/none").status()), 1u);
}

TEST_F(InputFileTest, PassesOnWhatTheSystemSaid) {
  for (int call = 1;; ++call) {
    FaultPlan plan{.fail_at = call, .error = EIO};
    FaultEnv env(Env::posix(), plan);
    Result<InputFile> file = InputFile::open(env, path_);
    const Status status = file.ok() ? file->named(file->read(0, buffer_)) : file.status();
    if (static_cast<int>(plan.calls.size()) < call) break;
    EXPECT_EQ(status.code(), ErrorCode::kIoError);
    EXPECT_TRUE(status.message().starts_with("cannot ")) << status.message();
  }
}

}  // namespace
}  // namespace winnow
