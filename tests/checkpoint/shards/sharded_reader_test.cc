// Checkpoints that are folders, read as one.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "checkpoint/shards/test_shards.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/error_codes.h"

namespace winnow {
namespace {

using testing::f32;
using testing::index_of;
using testing::kIndexName;
using testing::read_file;
using testing::shard_name;
using testing::TempDir;
using testing::TestShards;
using testing::three_shards;
using testing::write_file;
using testing::write_shards;

class ShardedReaderTest : public ::testing::Test {
 protected:
  std::string folder() const { return dir_.path("model"); }
  std::string in_folder(const std::string& name) const { return folder() + "/" + name; }
  Status open(const std::string& path) { return open_checkpoint(Env::posix(), path).status(); }
  Status open() { return open(folder()); }
  void write_index(const std::string& text) { write_file(in_folder(kIndexName), text); }

  TempDir dir_;
};

// The code, and what the message has to name.
void expect(const Status& status, StatusCode code, const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), code) << status.message();
  for (const std::string& part : parts) {
    EXPECT_NE(status.message().find(part), std::string::npos) << part << " in " << status.message();
  }
}

TEST_F(ShardedReaderTest, ShowsTheShardsAsOneFile) {
  write_shards(folder(), three_shards());
  for (const std::string& path : {folder(), folder() + "/", in_folder(kIndexName)}) {
    const auto reader = open_checkpoint(Env::posix(), path);
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    std::vector<testing::TestTensor> all;
    for (const auto& [name, tensors] : three_shards()) {
      all.insert(all.end(), tensors.begin(), tensors.end());
    }
    const std::vector<TensorInfo> expected = testing::infos_of(all);
    const auto tensors = (*reader)->tensors();
    ASSERT_EQ(tensors.size(), expected.size());
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(tensors[i].name, expected[i].name);
      EXPECT_EQ(tensors[i].begin, expected[i].begin);
      EXPECT_EQ(tensors[i].end, expected[i].end);
      std::string bytes(all[i].bytes.size() - 4, '\0');
      ASSERT_TRUE((*reader)->read(i, 4, std::as_writable_bytes(std::span(bytes))).ok());
      EXPECT_EQ(bytes, all[i].bytes.substr(4));
    }
    EXPECT_EQ((*reader)->header_text(), safetensors_header_text(expected, {{"format", "pt"}}));
    EXPECT_TRUE((*reader)->check_unchanged().ok());
  }
}

TEST_F(ShardedReaderTest, KeepsTheMetadataOnWhichShardsAgree) {
  write_shards(folder(), {{"a", {f32("x", {1}, {1})}}, {"b", {f32("y", {1}, {1})}}});
  write_file(in_folder("a"), testing::image_of({f32("x", {1}, {1})},
                                               {{"format", "pt"}, {"step", "1"}, {"z", "x"}}));
  write_file(in_folder("b"),
             testing::image_of({f32("y", {1}, {1})}, {{"step", "2"}, {"format", "pt"}}));
  const auto reader = open_checkpoint(Env::posix(), folder());
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ((*reader)->metadata(), (Metadata{{"format", "pt"}, {"z", "x"}}));
}

TEST_F(ShardedReaderTest, NoticesChangesOfTheIndexAndOfEachShard) {
  for (const std::string& name : {std::string(kIndexName), shard_name(1, 3), shard_name(3, 3)}) {
    write_shards(folder(), three_shards());
    const auto reader = open_checkpoint(Env::posix(), folder());
    ASSERT_TRUE((*reader)->check_unchanged().ok());
    write_file(in_folder(name), read_file(in_folder(name)) + " ");
    expect((*reader)->check_unchanged(), ErrorCode::kInputChanged, {name});
    std::filesystem::remove_all(folder());
  }
}

TEST_F(ShardedReaderTest, ReadsShardsOfWhichSomeAreCompressed) {
  const std::vector<float> zeros(100'000);
  write_shards(folder(), {{"a", {f32("x", {1000, 100}, zeros)}}, {"b", {f32("y", {1}, {2})}}});
  SerialFor serial;
  Progress progress;
  ASSERT_TRUE(compress_file(Env::posix(),
                            {.input = in_folder("a"), .output = in_folder("a"), .overwrite = true},
                            serial, progress)
                  .ok());
  const auto reader = open_checkpoint(Env::posix(), folder());
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_TRUE((*reader)->is_compressed());
  EXPECT_LT((*reader)->stored(0)->bytes, 1000);
  EXPECT_EQ((*reader)->stored(1)->bytes, 4);
  EXPECT_GT((*reader)->read_bytes(0), 0);
  std::vector<float> values(zeros.size(), 1);
  ASSERT_TRUE((*reader)->read(0, 0, std::as_writable_bytes(std::span(values))).ok());
  EXPECT_EQ(values, zeros);
}

TEST_F(ShardedReaderTest, TakesAShardThatHoldsOnlyEmptyTensors) {
  write_shards(
      folder(),
      {{"a", {f32("x", {1}, {1})}}, {"b", {f32("none", {0, 3}, {})}}, {"c", {f32("z", {1}, {3})}}});
  const auto reader = open_checkpoint(Env::posix(), folder());
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  float value = 0;
  ASSERT_TRUE((*reader)->read(2, 0, std::as_writable_bytes(std::span(&value, 1))).ok());
  EXPECT_EQ(value, 3);
}

TEST_F(ShardedReaderTest, NamesAShardThatIsMissing) {
  write_shards(folder(), three_shards());
  std::filesystem::remove(in_folder(shard_name(2, 3)));
  expect(open(), ShardError::kMissingShard, {kIndexName, shard_name(2, 3)});
}

TEST_F(ShardedReaderTest, NamesATensorThatItsShardLacks) {
  TestShards shards = three_shards();
  write_shards(folder(), shards);
  shards[shard_name(2, 3)].push_back(f32("more", {1}, {1}));
  write_index(index_of(shards));
  expect(open(), ShardError::kTensorNotInShard,
         {kIndexName, "'more'", shard_name(2, 3), "no shard"});
}

TEST_F(ShardedReaderTest, NamesTheShardInWhichATensorIsInstead) {
  TestShards shards = three_shards();
  write_shards(folder(), shards);
  shards[shard_name(2, 3)].push_back(shards[shard_name(3, 3)].back());
  shards[shard_name(3, 3)].pop_back();
  shards[shard_name(1, 3)].pop_back();
  shards[shard_name(3, 3)].push_back(three_shards()[shard_name(1, 3)].back());
  write_index(index_of(shards));
  expect(open(), ShardError::kTensorNotInShard, {"'a'", shard_name(1, 3), shard_name(3, 3)});
}

TEST_F(ShardedReaderTest, NamesATensorThatTheIndexLacks) {
  TestShards shards = three_shards();
  write_shards(folder(), shards);
  shards[shard_name(1, 3)].pop_back();
  write_index(index_of(shards));
  expect(open(), ShardError::kTensorNotInIndex, {kIndexName, "'a'", shard_name(1, 3)});
}

TEST_F(ShardedReaderTest, NamesBothShardsOfATensorThatIsThereTwice) {
  TestShards shards = three_shards();
  const std::string index = index_of(shards);
  shards[shard_name(3, 3)].push_back(f32("c", {1}, {1}));
  write_shards(folder(), shards);
  write_index(index);
  expect(open(), ShardError::kTensorInTwoShards, {"'c'", shard_name(2, 3), shard_name(3, 3)});
}

TEST_F(ShardedReaderTest, NamesTheShardThatIsMalformed) {
  write_shards(folder(), three_shards());
  write_file(in_folder(shard_name(2, 3)), "short");
  expect(open(), SafetensorsError::kFileTooShort, {in_folder(shard_name(2, 3))});
  write_index("{");
  expect(open(), ShardError::kIndexSyntax, {in_folder(kIndexName)});
}

TEST_F(ShardedReaderTest, TakesTheOnlyFileOfAFolder) {
  std::filesystem::create_directory(folder());
  write_file(in_folder("weights.safetensors"), testing::image_of({f32("x", {1}, {1})}));
  write_file(in_folder(".hidden.safetensors"), "");
  write_file(in_folder("config.json"), "{}");
  const auto reader = open_checkpoint(Env::posix(), folder());
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ((*reader)->header_text(), testing::header_of(in_folder("weights.safetensors")).text());
}

TEST_F(ShardedReaderTest, RefusesAFolderOfWhichReadersTakeOneFileOrTheOther) {
  write_shards(folder(), three_shards());
  write_file(in_folder("model.safetensors"), testing::image_of({f32("x", {1}, {1})}));
  expect(open(), ShardError::kAmbiguousFolder, {"model.safetensors'", kIndexName, "name the file"});
  EXPECT_TRUE(open(in_folder(kIndexName)).ok());
  std::filesystem::rename(in_folder("model.safetensors"), in_folder("adapter.safetensors"));
  EXPECT_TRUE(open().ok());
  write_file(in_folder("b.safetensors.index.json"), index_of(three_shards()));
  expect(open(), ShardError::kAmbiguousFolder, {kIndexName, "b.safetensors.index.json"});
  std::filesystem::remove(in_folder("b.safetensors.index.json"));
  std::filesystem::remove(in_folder(kIndexName));
  expect(open(), ShardError::kAmbiguousFolder, {"'adapter.safetensors'", shard_name(3, 3)});
}

TEST_F(ShardedReaderTest, TakesAnIndexWhoseShardHasTheNameOfASingleFile) {
  write_shards(folder(), {{"model.safetensors", {f32("x", {1}, {1})}}});
  EXPECT_TRUE(open().ok());
}

TEST_F(ShardedReaderTest, SaysWhatAFolderWithoutACheckpointLacks) {
  std::filesystem::create_directory(folder());
  expect(open(), ErrorCode::kUnsupportedFile, {".safetensors.index.json", "a folder without"});
}

}  // namespace
}  // namespace winnow
