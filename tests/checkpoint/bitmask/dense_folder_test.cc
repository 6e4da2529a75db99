// Folders of weights in compressed-tensors' formats become folders of dense ones: config.json and
// the index say so too.
#include "checkpoint/bitmask/dense_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/shards/test_shards.h"
#include "support/threads.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/error_codes.h"
#include "winnow/sparse/error_codes.h"

namespace winnow {
namespace {

using testing::bytes_of;
using testing::f32;
using testing::files_in;
using testing::index_of;
using testing::kIndexName;
using testing::read_file;
using testing::shard_name;
using testing::TempDir;
using testing::TestShards;
using testing::write_file;
using testing::write_shards;

constexpr char kConfig[] =
    "{\"dtype\": \"float32\", \"quantization_config\": {\"a\": 1.50,\n"
    "  \"sparsity_config\": {\"format\": \"sparse-bitmask\"}}}\n";
constexpr char kDenseConfig[] =
    "{\"dtype\": \"float32\", \"quantization_config\": {\"a\": 1.50}}\n";

// A weight of 2 x 3 in two shards that have other tensors as well.
TestShards compressed_shards() {
  return {{shard_name(1, 2),
           {f32("b", {2}, {8, 9}),
            f32("w.compressed", {2}, {1, 2}),
            {"w.bitmask", DType::kU8, {2, 1}, std::string("\x02\x04", 2)},
            {"w.shape", DType::kI64, {2}, bytes_of<int64_t>({2, 3})},
            {"w.row_offsets", DType::kI64, {2}, bytes_of<int64_t>({0, 1})}}},
          {shard_name(2, 2), {f32("z", {1}, {7})}}};
}

TestShards dense_shards() {
  return {{shard_name(1, 2), {f32("b", {2}, {8, 9}), f32("w.weight", {2, 3}, {0, 1, 0, 0, 0, 2})}},
          {shard_name(2, 2), {f32("z", {1}, {7})}}};
}

class DenseFolder : public ::testing::Test {
 protected:
  DenseFolder() {
    write_shards(model_, compressed_shards());
    write_file(model_ + "/config.json", kConfig);
    write_shards(dense_, dense_shards());
    write_file(dense_ + "/config.json", kDenseConfig);
  }

  using Convert = Result<CompressResult> (*)(Env&, const CompressJob&, ParallelFor&, Progress&);
  Status convert(Convert function, const std::string& input, const std::string& output,
                 bool dry_run = false) {
    CompressJob job;
    job.input = input;
    job.output = output;
    job.in_place = output.empty();
    job.dry_run = dry_run;
    return function(Env::posix(), job, serial_, progress_).status();
  }
  std::string index_with(const std::string& from, const std::string& to) const {
    std::string text = index_of(compressed_shards());
    return text.replace(text.find(from), from.size(), to);
  }

  TempDir dir_;
  const std::string model_ = dir_.path("model"), dense_ = dir_.path("dense"),
                    out_ = dir_.path("out");
  const std::string index_ = model_ + "/" + kIndexName, config_ = model_ + "/config.json";
  SerialFor serial_;
  Progress progress_;
};

TEST_F(DenseFolder, IsWhatTheDenseModelWouldBe) {
  const Status status = convert(decompress_file, model_, out_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(files_in(out_), files_in(dense_));
}

TEST_F(DenseFolder, IsTheSameInPlace) {
  ASSERT_TRUE(convert(decompress_file, model_, "").ok());
  EXPECT_EQ(files_in(model_), files_in(dense_));
}

TEST_F(DenseFolder, IsTheSameByWayOfWinnowsOwnFormat) {
  ASSERT_TRUE(convert(compress_file, model_, out_).ok());
  EXPECT_EQ(read_file(out_ + "/config.json"), kDenseConfig);
  EXPECT_EQ(read_file(out_ + "/" + kIndexName), index_of(dense_shards()));
  ASSERT_TRUE(convert(decompress_file, out_, dir_.path("back")).ok());
  EXPECT_EQ(files_in(dir_.path("back")), files_in(dense_));
}

TEST_F(DenseFolder, KeepsThePermissionsOfWhatIsRewritten) {
  using std::filesystem::perms;
  const perms wanted = perms::owner_read | perms::owner_write | perms::group_read;
  std::filesystem::permissions(config_, wanted);
  std::filesystem::permissions(index_, wanted);
  ASSERT_TRUE(convert(decompress_file, model_, out_).ok());
  EXPECT_EQ(std::filesystem::status(out_ + "/config.json").permissions(), wanted);
  EXPECT_EQ(std::filesystem::status(out_ + "/" + kIndexName).permissions(), wanted);
}

TEST_F(DenseFolder, KeepsAnIndexThatListsTheWeightItself) {
  const std::string text = index_of(dense_shards()) + "\n\n";
  write_file(index_, text);
  ASSERT_TRUE(convert(decompress_file, model_, out_).ok());
  EXPECT_EQ(read_file(out_ + "/" + kIndexName), text);
}

TEST_F(DenseFolder, KeepsOtherBytesOfTheIndexAndTheFormOfItsSize) {
  const std::string size = "\"total_size\": ";
  const uint64_t dense_bytes = 9 * sizeof(float);
  for (const auto& [old_size, new_size] :
       {std::pair<std::string, std::string>{"12.0", std::to_string(dense_bytes)},
        {"\"12\"", "\"" + std::to_string(dense_bytes) + "\""}}) {
    const auto text = [](const std::string& bytes, const std::string& names) {
      return "{ \"x\" : [1.50], \"metadata\":{\"y\":{},\"total_size\" :" + bytes +
             "},\"weight_map\":{" + names + "} }";
    };
    const std::string first = shard_name(1, 2), second = shard_name(2, 2);
    const std::string before = "\"w.\\u0073hape\" : \"" + first + "\", \"w.bitmask\":\"" + first +
                               "\" , \"w.compressed\" :  \"" + first + "\",\"b\":\"" + first +
                               "\",\"w.row_offsets\":\"" + first + "\",\"z\":\"" + second + "\"";
    const std::string after =
        "\"w.weight\" :  \"" + first + "\",\"b\":\"" + first + "\",\"z\":\"" + second + "\"";
    write_file(index_, text(old_size, before));
    std::filesystem::remove_all(out_);
    const Status status = convert(decompress_file, model_, out_);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(read_file(out_ + "/" + kIndexName), text(new_size, after));
  }
}

TEST_F(DenseFolder, NeedsNeitherAConfigNorASize) {
  std::filesystem::remove(config_);
  write_file(index_, index_with("\"total_size\"", "\"other\""));
  ASSERT_TRUE(convert(decompress_file, model_, out_).ok());
  EXPECT_FALSE(std::filesystem::exists(out_ + "/config.json"));
  EXPECT_NE(read_file(out_ + "/" + kIndexName).find("w.weight"), std::string::npos);
}

TEST_F(DenseFolder, WithoutAnIndexHasItsConfigRewritten) {
  const std::string single = dir_.path("single");
  std::filesystem::create_directory(single);
  std::filesystem::copy(model_ + "/" + shard_name(1, 2), single + "/model.safetensors");
  write_file(single + "/config.json", kConfig);
  ASSERT_TRUE(convert(decompress_file, single, out_).ok());
  EXPECT_EQ(read_file(out_ + "/config.json"), kDenseConfig);
  EXPECT_EQ(read_file(out_ + "/model.safetensors"), read_file(dense_ + "/" + shard_name(1, 2)));
}

TEST_F(DenseFolder, IsRefusedBeforeAnythingIsWrittenIfTheConfigIsNotUnderstood) {
  write_file(config_, R"({"quantization_config":{"sparsity_config":{"format":"marlin-24"}}})");
  const auto before = files_in(model_);
  for (const std::string& output : {out_, std::string()}) {
    for (const bool dry_run : {false, true}) {
      const Status status = convert(decompress_file, model_, output, dry_run);
      EXPECT_EQ(status.code(), BitmaskError::kSparsityConfig) << status.message();
      EXPECT_NE(status.message().find("config.json"), std::string::npos) << status.message();
    }
  }
  EXPECT_EQ(files_in(model_), before);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(DenseFolder, LeavesTheConfigOfDenseWeightsAlone) {
  write_file(dense_ + "/config.json", kConfig);
  ASSERT_TRUE(convert(compress_file, dense_, out_).ok());
  EXPECT_EQ(read_file(out_ + "/config.json"), kConfig);
}

TEST_F(DenseFolder, IsRefusedIfTheIndexListsSomePartsOnly) {
  const auto code = [&](const std::string& from, const std::string& to) {
    write_file(index_, index_with(from, to));
    return open_checkpoint(Env::posix(), model_).status().code();
  };
  EXPECT_EQ(code("w.shape", "w.other"), ShardError::kTensorNotInIndex);
  EXPECT_EQ(code("w.shape", "w.weight"), ShardError::kTensorNotInShard)
      << "the other parts are listed as well";
  EXPECT_EQ(code("\"w.shape\": \"" + shard_name(1, 2), "\"w.shape\": \"" + shard_name(2, 2)),
            ShardError::kTensorNotInShard);
}

}  // namespace
}  // namespace winnow
