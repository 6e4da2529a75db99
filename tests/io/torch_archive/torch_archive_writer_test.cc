#include "winnow/io/torch_archive_writer.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/fault_env.h"
#include "io/temp_dir.h"
#include "io/zip/zip_writer.h"
#include "io/zip_records.h"
#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace testing;  // NOLINT: the helpers of this folder

// A vector of four bytes.
TorchTree vector_tree() {
  TorchTree tree;
  tree.set_root(tree.add_tensor({.dtype = DType::kU8, .shape = {4}, .strides = {1}}));
  return tree;
}

const std::vector<TorchStorage> kFourBytes = {{DType::kU8, 4}};

Status write(Env& env, const std::string& path, const std::string& payload, bool overwrite) {
  Result<TorchArchiveWriter> writer =
      TorchArchiveWriter::create(env, path, vector_tree(), kFourBytes, {.overwrite = overwrite});
  if (!writer.ok()) return writer.status();
  if (Status status = writer->append_storage(bytes(payload)); !status.ok()) return status;
  return writer->commit();
}

StatusCode create_code(const TorchTree& tree, const std::vector<TorchStorage>& storages) {
  const TempDir dir;
  const StatusCode code =
      TorchArchiveWriter::create(Env::posix(), dir.path("out"), tree, storages).status().code();
  EXPECT_THAT(dir.names(), IsEmpty());
  return code;
}

TEST(TorchArchiveWriter, WritesEqualBytesForEqualInput) {
  const TempDir dir;
  ASSERT_TRUE(write(Env::posix(), dir.path("a"), "1234", false).ok());
  ASSERT_TRUE(write(Env::posix(), dir.path("b"), "1234", false).ok());
  ASSERT_TRUE(write(Env::posix(), dir.path("c"), "1235", false).ok());
  EXPECT_EQ(read_file(dir.path("a")), read_file(dir.path("b")));
  EXPECT_NE(read_file(dir.path("a")), read_file(dir.path("c")));
}

TEST(TorchArchiveWriter, IsAsLongAsItReserves) {
  const TempDir dir;
  ASSERT_TRUE(write(Env::posix(), dir.path("a"), "1234", false).ok());
  std::vector<io::PlannedRecord> plan;
  for (const io::ZipRecord& record : testing::zip_records(Env::posix(), dir.path("a"))) {
    plan.push_back({record.name, record.bytes});
  }
  EXPECT_EQ(io::zip_bytes(plan), read_file(dir.path("a")).size());
}

TEST(TorchArchiveWriter, RefusesTreesThatTheReaderWouldRefuse) {
  TorchTree tree = vector_tree();
  EXPECT_EQ(create_code(tree, kFourBytes), ErrorCode::kOk);
  EXPECT_EQ(create_code(tree, {{DType::kU8, 3}}), TorchArchiveError::kTensorBounds);
  EXPECT_EQ(create_code(tree, {{DType::kI8, 4}}), TorchArchiveError::kStorageDtype);
  EXPECT_EQ(create_code(tree, {{DType::kU16, 4}}), TorchArchiveError::kStorageDtype);
  EXPECT_EQ(create_code(tree, {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(create_code(tree, {{DType::kU8, 4}, {DType::kU8, 4}}),
            TorchArchiveError::kUnreferencedRecord);
  EXPECT_EQ(create_code(tree, {{DType::kF32, UINT64_MAX / 2}}), TorchArchiveError::kTensorShape);
  const TorchNode list = tree.add_list();
  tree.append(list, list);
  tree.set_root(list);
  EXPECT_EQ(create_code(tree, {}), PickleError::kPickleCycle);
}

TEST(TorchArchiveWriter, RefusesMoreNodesThanTheReaderTakes) {
  TorchTree tree;
  const TorchNode list = tree.add_list();
  for (int i = 0; i < (1 << 21); ++i) tree.append(list, tree.add_int(1000));
  tree.set_root(list);
  EXPECT_EQ(create_code(tree, {}), PickleError::kPickleTooLarge);
}

TEST(TorchArchiveWriter, CommitsExactlyTheStoragesThatWerePromised) {
  const TempDir dir;
  const auto create = [&] {
    return TorchArchiveWriter::create(Env::posix(), dir.path("out"), vector_tree(), kFourBytes);
  };
  for (const std::string payload : {"", "123", "12345"}) {
    Result<TorchArchiveWriter> writer = create();
    EXPECT_EQ(writer->append_storage(bytes(payload)).code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(dir.names(), IsEmpty());
    EXPECT_EQ(writer->commit().code(), ErrorCode::kInvalidArgument);
  }
  Result<TorchArchiveWriter> writer = create();
  EXPECT_EQ(writer->commit().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(dir.names(), IsEmpty());
  writer = create();
  ASSERT_TRUE(writer->append_storage(bytes("1234")).ok());
  EXPECT_EQ(writer->append_storage(bytes("1234")).code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(TorchArchiveWriter, CommitsOnce) {
  const TempDir dir;
  Result<TorchArchiveWriter> writer =
      TorchArchiveWriter::create(Env::posix(), dir.path("out"), vector_tree(), kFourBytes);
  ASSERT_TRUE(writer->append_storage(bytes("1234")).ok());
  ASSERT_TRUE(writer->commit().ok());
  const std::string written = read_file(dir.path("out"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(writer->commit().message(), "append to a file that is committed or abandoned");
  }
  EXPECT_EQ(read_file(dir.path("out")), written);
}

TEST(TorchArchiveWriter, LeavesNothingWhenItIsDropped) {
  const TempDir dir;
  ASSERT_TRUE(
      TorchArchiveWriter::create(Env::posix(), dir.path("out"), vector_tree(), kFourBytes).ok());
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(TorchArchiveWriter, ReplacesOnlyWhenToldTo) {
  const TempDir dir;
  write_file(dir.path("out"), "old");
  EXPECT_EQ(write(Env::posix(), dir.path("out"), "1234", false).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(dir.path("out")), "old");
  EXPECT_TRUE(write(Env::posix(), dir.path("out"), "1234", true).ok());
  EXPECT_TRUE(TorchArchive::open(Env::posix(), dir.path("out")).ok());
  EXPECT_THAT(dir.names(), ElementsAre("out"));
}

TEST(TorchArchiveWriter, LeavesTheOldFileWhateverCallFails) {
  for (int call = 1;; ++call) {
    const TempDir dir;
    write_file(dir.path("out"), "old");
    FaultPlan plan{.fail_at = call, .tear = true, .error = ENOSPC};
    FaultEnv env(Env::posix(), plan);
    const Status status = write(env, dir.path("out"), "1234", true);
    if (status.ok()) {
      EXPECT_GT(call, 20);
      break;
    }
    if (status.code() == ErrorCode::kNotDurable) continue;
    EXPECT_EQ(read_file(dir.path("out")), "old") << "call " << call;
    EXPECT_THAT(dir.names(), ElementsAre("out")) << "call " << call;
  }
}

// Both are past 4 GiB in all. The larger one's size needs a field of 20 bytes in the directory; in
// the record's own header, that field takes the place of padding.
TEST(ZipBytes, CountsTheFieldsOfNumbersThatAreFull) {
  const std::vector<io::PlannedRecord> small = {{"a/x", 0xfffffffe}};
  const std::vector<io::PlannedRecord> large = {{"a/x", 0xffffffff}};
  EXPECT_EQ(io::zip_bytes(small), 64 + uint64_t{0xfffffffe} + (46 + 3) + 76 + 22);
  EXPECT_EQ(io::zip_bytes(large), io::zip_bytes(small) + 1 + 20);
}

}  // namespace
}  // namespace winnow
