// Checkpoints that are folders, pruned and compressed.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/shards/checkpoint_folder.h"
#include "checkpoint/shards/test_shards.h"
#include "support/threads.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/error_codes.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"
#include "winnow/io/atomic_directory.h"

namespace winnow {
namespace {

using testing::f32;
using testing::files_in;
using testing::kIndexName;
using testing::read_file;
using testing::shard_name;
using testing::TempDir;
using testing::three_shards;
using testing::write_file;
using testing::write_shards;

class ShardedWriterTest : public ::testing::Test {
 protected:
  ShardedWriterTest() {
    write_shards(model_, three_shards());
    write_file(model_ + "/config.json", "{}");
  }

  // What a test changes of a job to prune the model.
  struct Change {
    std::string input = {}, output = {};
    Scope scope = Scope::kTensor;
    bool overwrite = false, compress = false, dry_run = false, in_place = false;
  };
  Result<PruneResult> prune(const Change& change, ParallelFor& threads) {
    PruneJob job;
    job.input = change.input.empty() ? model_ : change.input;
    job.output = change.output;
    job.settings.scope = change.scope;
    job.overwrite = change.overwrite;
    job.compress = change.compress;
    job.dry_run = change.dry_run;
    job.in_place = change.in_place;
    return prune_file(Env::posix(), job, threads, progress_);
  }
  Result<PruneResult> prune(const Change& change) { return prune(change, serial_); }
  Result<PruneResult> prune_to(const std::string& output) { return prune({.output = output}); }

  using Convert = Result<CompressResult> (*)(Env&, const CompressJob&, ParallelFor&, Progress&);
  Status convert(Convert function, const std::string& input, const std::string& output) {
    CompressJob job;
    job.input = input;
    job.output = output;
    job.in_place = output.empty();
    return function(Env::posix(), job, serial_, progress_).status();
  }
  Status verify(const std::string& pruned) {
    VerifyJob job;
    job.pruned = pruned;
    job.original = model_;
    return verify_file(Env::posix(), job, serial_, progress_).status();
  }

  TempDir dir_;
  const std::string model_ = dir_.path("model"), out_ = dir_.path("out");
  SerialFor serial_;
  Progress progress_;
};

TEST_F(ShardedWriterTest, KeepsShardsAndIndexAndCarriesTheRest) {
  const auto before = files_in(model_);
  const auto result = prune_to(out_);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->written, out_);
  EXPECT_TRUE(result->left_out.empty());
  const auto after = files_in(out_);
  uint64_t bytes = 0;
  for (const auto& [name, content] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    if (name.ends_with(".safetensors")) {
      bytes += after.at(name).size();
    } else {
      EXPECT_EQ(after.at(name), content);
    }
  }
  EXPECT_EQ(after.size(), before.size());
  EXPECT_EQ(result->output_bytes, bytes);
  EXPECT_EQ(files_in(model_), before);
  EXPECT_TRUE(verify(out_).ok()) << verify(out_).message();
}

TEST_F(ShardedWriterTest, PrunesEachShardAsItWouldBeAlone) {
  ASSERT_TRUE(prune_to(out_).ok());
  for (int i = 1; i <= 3; ++i) {
    const std::string name = shard_name(i, 3), alone = dir_.path("alone" + std::to_string(i));
    ASSERT_TRUE(prune({.input = model_ + "/" + name, .output = alone}).ok());
    EXPECT_EQ(read_file(out_ + "/" + name), read_file(alone)) << name;
  }
}

TEST_F(ShardedWriterTest, SpendsAGlobalBudgetOverAllShards) {
  const auto result = prune({.output = out_, .scope = Scope::kGlobal});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_TRUE(verify(out_).ok());
  EXPECT_NE(result->tensors[0].zeros_after * 2, result->tensors[0].tensor.numel());
}

TEST_F(ShardedWriterTest, GivesTheSameBytesForAnyNumberOfThreads) {
  for (const bool compress : {false, true}) {
    std::filesystem::remove_all(out_);
    ASSERT_TRUE(prune({.output = out_, .compress = compress}).ok());
    for (const size_t count : {2, 3, 16}) {
      testing::ThreadsFor threads(count);
      const std::string other = dir_.path("other");
      ASSERT_TRUE(
          prune_file(Env::posix(),
                     {.input = model_, .output = other, .settings = {}, .compress = compress},
                     threads, progress_)
              .ok());
      EXPECT_EQ(files_in(other), files_in(out_)) << count;
      std::filesystem::remove_all(other);
    }
  }
}

TEST_F(ShardedWriterTest, LeavesOtherWeightsOutAndSaysSo) {
  write_file(model_ + "/pytorch_model.bin", "x");
  write_file(model_ + "/adapter.safetensors", testing::image_of({f32("x", {1}, {1})}));
  write_file(model_ + "/" + shard_name(9, 9), testing::image_of({}));
  write_file(model_ + "/.hidden", "x");
  write_file(model_ + "/.winnow.journal.not", "x");
  write_file(model_ + "/.config.json.winnow.tmp", "x");
  std::filesystem::create_symlink("nowhere", model_ + "/dangling");
  std::filesystem::create_symlink("config.json", model_ + "/link.json");
  const auto result = prune_to(out_);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->left_out,
            (std::vector<std::string>{".hidden", ".winnow.journal.not", "adapter.safetensors",
                                      "dangling", "pytorch_model.bin"}))
      << "winnow's own names go without a word";
  const auto after = files_in(out_);
  EXPECT_EQ(after.at("link.json"), "{}");
  EXPECT_FALSE(std::filesystem::is_symlink(out_ + "/link.json"));
  EXPECT_EQ(after.at(shard_name(9, 9)), testing::image_of({}));
  EXPECT_EQ(after.size(), 4 + 1 + 2) << "three shards, the index, config.json and two more";
  EXPECT_FALSE(after.contains(".hidden"));
}

// So that sentence-transformers finds 1_Pooling/config.json.
TEST_F(ShardedWriterTest, CarriesSubdirectoriesButTheirWeights) {
  const auto make = [&](const std::string& name) {
    std::filesystem::create_directories(model_ + "/" + name);
  };
  for (const char* name : {"1_Pooling", "2_Normalize", "a/b/c", ".git/objects"}) make(name);
  write_file(model_ + "/1_Pooling/config.json", "pooling");
  write_file(model_ + "/1_Pooling/model.safetensors", testing::image_of({f32("x", {1}, {1})}));
  write_file(model_ + "/1_Pooling/.lock", "x");
  write_file(model_ + "/a/b/c/pytorch_model.bin", "x");
  write_file(model_ + "/a/b/c/" + shard_name(1, 3), testing::image_of({}));
  std::filesystem::create_symlink("../config.json", model_ + "/a/link.json");
  std::filesystem::create_directory_symlink("..", model_ + "/a/up");
  const auto result = prune_to(out_);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->left_out,
            (std::vector<std::string>{".git", "1_Pooling/.lock", "1_Pooling/model.safetensors",
                                      "a/b/c/pytorch_model.bin", "a/up"}));
  auto expected = files_in(model_);
  for (const std::string& name : result->left_out) expected.erase(name);
  expected.erase(".git/objects");
  auto found = files_in(out_);
  for (int i = 1; i <= 3; ++i) found[shard_name(i, 3)] = expected[shard_name(i, 3)];
  EXPECT_EQ(found, expected);
  EXPECT_TRUE(std::filesystem::is_directory(out_ + "/2_Normalize"));
  EXPECT_FALSE(std::filesystem::is_symlink(out_ + "/a/link.json"));
}

TEST_F(ShardedWriterTest, DoesNotCarryTheOutputIntoItself) {
  const std::string inside = model_ + "/pruned";
  std::filesystem::create_directory(inside);
  const auto result = prune_to(inside);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->left_out, std::vector<std::string>{"pruned"});
  EXPECT_FALSE(std::filesystem::exists(inside + "/pruned"));
}

TEST_F(ShardedWriterTest, RefusesSubdirectoriesBeyondTheLimits) {
  std::string deepest = model_;
  for (int i = 0; i < AtomicDirectory::kMaxDepth; ++i) deepest += "/d";
  std::filesystem::create_directories(deepest);
  ASSERT_TRUE(prune_to(out_).ok());
  EXPECT_TRUE(std::filesystem::is_directory(out_ + deepest.substr(model_.size())));
  std::filesystem::remove_all(out_);
  std::filesystem::create_directory(deepest + "/d");
  const Status too_deep = prune_to(out_).status();
  EXPECT_EQ(too_deep.code(), ErrorCode::kUnsupportedFile);
  EXPECT_NE(too_deep.message().find(deepest + "/d: expected at most"), std::string::npos);
  std::filesystem::remove_all(model_ + "/d");

  std::filesystem::create_directory(model_ + "/many");
  for (size_t i = 0; i < checkpoint::kMaxNestedNames; ++i) {
    std::filesystem::create_symlink("none", model_ + "/many/" + std::to_string(i));
  }
  ASSERT_TRUE(prune_to(out_).ok());
  std::filesystem::remove_all(out_);
  std::filesystem::create_directory(model_ + "/more");
  write_file(model_ + "/more/x", "x");
  const Status too_many = prune_to(out_).status();
  EXPECT_EQ(too_many.code(), ErrorCode::kUnsupportedFile);
  EXPECT_NE(too_many.message().find("in the subdirectories"), std::string::npos);
  EXPECT_EQ(dir_.names(), std::vector<std::string>{"model"});
}

TEST_F(ShardedWriterTest, MergesShardsIntoOneFileIfAskedFor) {
  const std::string one = dir_.path("one.safetensors");
  const auto result = prune_to(one);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output_bytes, read_file(one).size());
  EXPECT_EQ(testing::metadata_of(one, "format"), "pt");
  EXPECT_TRUE(verify(one).ok());
}

TEST_F(ShardedWriterTest, DoesNotMergeWhatWouldLoseMetadataOrConfuseLoaders) {
  const auto code = [&](const std::string& name) {
    return prune({.output = name, .overwrite = true}).status().code();
  };
  EXPECT_EQ(code(model_ + "/model.safetensors"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(model_ + "/" + shard_name(1, 3)), ErrorCode::kInvalidArgument);
  write_file(model_ + "/" + shard_name(2, 3),
             testing::image_of(three_shards()[shard_name(2, 3)], {{"format", "tf"}}));
  const auto result = prune_to(dir_.path("one.safetensors"));
  EXPECT_EQ(result.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(result.status().message().find("'format'"), std::string::npos);
  EXPECT_TRUE(prune_to(out_).ok());
}

TEST_F(ShardedWriterTest, DoesNotReplaceAFolderWithFilesInIt) {
  const auto before = files_in(model_);
  EXPECT_EQ(prune_to(model_).status().code(), ErrorCode::kSameFile);
  EXPECT_EQ(prune({.output = model_, .overwrite = true}).status().code(), ErrorCode::kSameFile);
  EXPECT_EQ(prune({.output = model_, .dry_run = true}).status().code(), ErrorCode::kSameFile);
  std::filesystem::create_directory(out_);
  write_file(out_ + "/notes.txt", "mine");
  EXPECT_EQ(prune_to(out_).status().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(out_ + "/notes.txt"), "mine");
  EXPECT_EQ(files_in(model_), before);
}

TEST_F(ShardedWriterTest, CompressesAndDecompressesByteForByte) {
  const std::string small = dir_.path("small"), back = dir_.path("back");
  write_file(model_ + "/" + shard_name(1, 3),
             testing::image_of({f32("b", {16, 1200}, std::vector<float>(16 * 1200)),
                                f32("a", {8, 8}, std::vector<float>(64))}));
  ASSERT_TRUE(convert(compress_file, model_, small).ok());
  EXPECT_LT(read_file(small + "/" + shard_name(1, 3)).size(), 5000);
  EXPECT_EQ(read_file(small + "/" + shard_name(2, 3)), read_file(model_ + "/" + shard_name(2, 3)))
      << "a shard that does not get smaller is a copy";
  EXPECT_EQ(read_file(small + "/" + kIndexName), read_file(model_ + "/" + kIndexName));
  ASSERT_TRUE(convert(decompress_file, small, back).ok());
  EXPECT_EQ(files_in(back), files_in(model_));
}

TEST_F(ShardedWriterTest, CarriesAFolderWithASingleFile) {
  const std::string single = dir_.path("single");
  std::filesystem::create_directory(single);
  write_file(single + "/w.safetensors",
             testing::image_of({f32("x", {8, 8}, std::vector<float>(64, 1))}));
  write_file(single + "/config.json", "{}");
  ASSERT_TRUE(prune({.input = single, .output = out_}).ok());
  ASSERT_TRUE(prune({.input = single + "/w.safetensors", .output = dir_.path("w")}).ok());
  EXPECT_EQ(files_in(out_),
            (std::map<std::string, std::string>{{"config.json", "{}"},
                                                {"w.safetensors", read_file(dir_.path("w"))}}));
}

TEST_F(ShardedWriterTest, ReplacesShardsInPlaceWithTheSameBytes) {
  ASSERT_TRUE(prune_to(out_).ok());
  const auto result = prune({.in_place = true});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->written, model_);
  EXPECT_EQ(files_in(model_), files_in(out_));
  ASSERT_TRUE(prune({.in_place = true}).ok());
  EXPECT_EQ(files_in(model_), files_in(out_)) << "a second time changes nothing";
  ASSERT_TRUE(convert(compress_file, model_, "").ok());
  ASSERT_TRUE(convert(decompress_file, model_ + "/" + kIndexName, "").ok());
  EXPECT_EQ(files_in(model_), files_in(out_));
}

TEST_F(ShardedWriterTest, ReplacesAFileInPlace) {
  const std::string file = model_ + "/" + shard_name(1, 3);
  ASSERT_TRUE(prune({.input = file, .output = out_}).ok());
  ASSERT_TRUE(prune({.input = file, .in_place = true}).ok());
  EXPECT_EQ(read_file(file), read_file(out_));
}

TEST_F(ShardedWriterTest, ReplacesNothingInADryRunOrWithAnOutput) {
  const auto before = files_in(model_);
  EXPECT_TRUE(prune({.dry_run = true, .in_place = true}).ok());
  EXPECT_EQ(prune({.output = out_, .in_place = true}).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(files_in(model_), before);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(ShardedWriterTest, RefusesAFolderThatIsBeingReplaced) {
  write_file(model_ + "/.winnow.journal", "x");
  const Status status = open_checkpoint(Env::posix(), model_).status();
  EXPECT_EQ(status.code(), ShardError::kInterruptedFolder) << status.message();
  EXPECT_EQ(prune_to(out_).status().code(), ShardError::kInterruptedFolder);
}

}  // namespace
}  // namespace winnow
