#include "winnow/io/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/temp_dir.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempDir;

const std::vector<TensorInfo> kTensors = {{"a", DType::kU8, {4}, 0, 4},
                                          {"b", DType::kU8, {2}, 4, 6}};
const std::string kText = safetensors_header_text(kTensors, {{"k", "v"}});

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TempDir dir;
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::create(Env::posix(), dir.path("out"), kText, 6);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->append(bytes("0123")).ok());
  ASSERT_TRUE(writer->append(bytes("45")).ok());
  ASSERT_TRUE(writer->commit().ok());
  Result<SafetensorsFile> file = SafetensorsFile::open(Env::posix(), dir.path("out"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->header().text(), kText);
  std::string b(2, '?');
  ASSERT_TRUE(
      file->read(file->header().tensors()[1], 0, std::as_writable_bytes(std::span(b))).ok());
  EXPECT_EQ(b, "45");
}

TEST(SafetensorsWriter, RefusesHeadersThatTheReaderWouldRefuse) {
  const TempDir dir;
  const auto code = [&](const std::string& text, uint64_t data_bytes) {
    return SafetensorsWriter::create(Env::posix(), dir.path("out"), text, data_bytes)
        .status()
        .code();
  };
  EXPECT_EQ(code("{", 0), SafetensorsError::kHeaderSyntax);
  EXPECT_EQ(code(kText, 5), SafetensorsError::kDataPastEnd);
  EXPECT_EQ(code(kText, 7), SafetensorsError::kTrailingData);
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(SafetensorsWriter, CommitsExactlyTheDataThatWasPromised) {
  const TempDir dir;
  for (const std::string data : {"", "01234", "0123456"}) {
    Result<SafetensorsWriter> writer =
        SafetensorsWriter::create(Env::posix(), dir.path("out"), kText, 6);
    ASSERT_TRUE(writer.ok());
    const Status appended = writer->append(bytes(data));
    EXPECT_EQ(appended.code(), data.size() > 6 ? ErrorCode::kInvalidArgument : ErrorCode::kOk);
    EXPECT_EQ(writer->commit().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(dir.names(), IsEmpty());
  }
}

TEST(SafetensorsWriter, ReplacesOnlyWhenToldTo) {
  const TempDir dir;
  testing::write_file(dir.path("out"), "old");
  EXPECT_EQ(SafetensorsWriter::create(Env::posix(), dir.path("out"), kText, 6).status().code(),
            ErrorCode::kAlreadyExists);
  Result<SafetensorsWriter> writer =
      SafetensorsWriter::create(Env::posix(), dir.path("out"), kText, 6, {.overwrite = true});
  ASSERT_TRUE(writer->append(bytes("012345")).ok());
  EXPECT_EQ(testing::read_file(dir.path("out")), "old");
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_THAT(testing::read_file(dir.path("out")), HasSubstr("012345"));
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(SafetensorsWriter, LeavesNothingWhenItIsDropped) {
  const TempDir dir;
  ASSERT_TRUE(SafetensorsWriter::create(Env::posix(), dir.path("out"), kText, 6).ok());
  EXPECT_THAT(dir.names(), IsEmpty());
}

}  // namespace
}  // namespace winnow
