// What is made of a file does not depend on how much of it is held in memory.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "checkpoint/masks/memory_shares.h"
#include "checkpoint/masks/with_shares.h"
#include "checkpoint/test_file.h"
#include "support/threads.h"
#include "winnow/checkpoint/compress.h"

namespace winnow {
namespace {

using checkpoint::MemoryShares;
using testing::CountingProgress;
using testing::image_of;
using testing::read_file;
using testing::TempDir;
using testing::TestTensor;
using testing::ThreadsFor;
using testing::write_file;

// Bits of few different values, so that many scores are equal; some are zeros of either sign.
// With `nan`, a few are NaN.
TestTensor random_tensor(std::string name, DType dtype, std::vector<uint64_t> shape, bool nan,
                         std::mt19937_64& random) {
  const size_t item = dtype_bits(dtype) / 8;
  uint64_t numel = 1;
  for (const uint64_t size : shape) numel *= size;
  std::string bytes(numel * item, '\0');
  for (uint64_t i = 0; i < numel; ++i) {
    const uint64_t pick = random() % 64;
    char* const top = &bytes[(i + 1) * item - 2];  // the sign, the exponent and some of the rest
    top[0] = static_cast<char>(pick % 8 << 4);
    top[1] = static_cast<char>(pick % 16 == 0 ? 0 : 0x3c + pick % 3);
    if (pick % 16 == 0) top[0] = 0;
    if (nan && random() % 500 == 0) top[0] = static_cast<char>(0xff), top[1] = 0x7f;
    if (pick % 2 == 0) top[1] = static_cast<char>(top[1] | 0x80);
  }
  return {std::move(name), dtype, std::move(shape), std::move(bytes)};
}

// Matrices of every prunable type, one of them guarded by its rows, one by its columns, one of a
// single row, one of a single dimension, and one that is not pruned.
std::vector<TestTensor> random_model(bool nan, std::mt19937_64& random) {
  return {random_tensor("w", DType::kF32, {61, 53}, nan, random),
          random_tensor("h", DType::kF16, {7, 5, 40}, nan, random),
          random_tensor("ids", DType::kF32, {11}, nan, random),
          random_tensor("long", DType::kBF16, {3001}, nan, random),
          random_tensor("d", DType::kF64, {3, 500}, nan, random),
          random_tensor("rows.weight_g", DType::kF32, {40, 1}, false, random),
          random_tensor("rows.weight_v", DType::kF32, {40, 30}, nan, random),
          random_tensor("cols.weight_g", DType::kF32, {1, 20}, false, random),
          random_tensor("cols.weight_v", DType::kF32, {50, 20}, nan, random)};
}

// Nothing is held whole.
MemoryShares in_pieces_of(uint64_t bytes) {
  return {.values = uint64_t{1} << 30, .whole = 0, .piece = bytes, .threads = 2};
}

class MaxMemory : public ::testing::Test {
 protected:
  ParallelFor& threads() {
    return is_threaded_ ? static_cast<ParallelFor&>(two_threads_) : serial_;
  }

  struct Outcome {
    std::string text;  // an error, or all figures
    std::string file;
  };

  template <typename Figures>
  static std::string text_of(const Figures& figures) {
    std::string text;
    visit_fields(figures, [&](std::string_view name, auto value) {
      text += std::string(name) + " " + std::to_string(value) + "\n";
    });
    return text;
  }

  Outcome outcome_of(const Result<PruneResult>& result) {
    if (!result.ok()) return {std::string(result.status().message()), ""};
    std::string text = text_of(result->totals);
    for (const TensorReport& tensor : result->tensors) text += text_of(tensor);
    return {text, read_file(job_.output)};
  }

  // What is read and written besides what `shares` allows to be held.
  Outcome prune(const MemoryShares& shares) {
    CountingProgress progress;
    const Result<PruneResult> result =
        prune_file_with(Env::posix(), job_, shares, threads(), progress);
    if (result.ok()) {
      for (const auto& stage : progress.stages) EXPECT_EQ(stage.done, stage.expected) << stage.name;
    }
    return outcome_of(result);
  }

  Outcome prune_whole() {
    Progress progress;
    return outcome_of(prune_file(Env::posix(), job_, threads(), progress));
  }

  std::string verify(const MemoryShares& shares) {
    const VerifyJob job{job_.output, job_.input, job_.settings};
    CountingProgress progress;
    const Result<VerifyResult> result =
        verify_file_with(Env::posix(), job, shares, threads(), progress);
    if (!result.ok()) return std::string(result.status().message());
    for (const auto& stage : progress.stages) EXPECT_EQ(stage.done, stage.expected) << stage.name;
    return text_of(*result);
  }

  void expect_no_difference(std::initializer_list<uint64_t> pieces) {
    const Outcome whole = prune_whole();
    const std::string checked =
        whole.file.empty() ? "" : verify({.values = 0, .whole = UINT64_MAX, .threads = 2});
    for (const uint64_t piece : pieces) {
      const Outcome outcome = prune(in_pieces_of(piece));
      EXPECT_EQ(outcome.text, whole.text) << "in pieces of " << piece;
      EXPECT_TRUE(outcome.file == whole.file) << "in pieces of " << piece;
      if (!whole.file.empty()) {
        EXPECT_EQ(verify(in_pieces_of(piece)), checked);
      }
    }
  }

  TempDir dir_;
  ThreadsFor two_threads_{2};
  SerialFor serial_;
  bool is_threaded_ = true;
  PruneJob job_{
      .input = dir_.path("in"), .output = dir_.path("out"), .settings = {}, .overwrite = true};
};

DataNormConfig random_config(std::mt19937_64& random) {
  constexpr BlockShape kBlocks[] = {{1, 1},   {1, 4}, {4, 1},  {3, 5}, {200, 2},
                                    {2, 200}, {8, 8}, {1, 64}, {2, 1}};
  constexpr double kLevels[] = {0, 0.05, 0.3, 0.5, 0.9, 1};
  const BlockShape block = kBlocks[random() % std::size(kBlocks)];
  DataNormConfig config{.sparsity_level = kLevels[random() % std::size(kLevels)],
                        .sparse_block_shape = block,
                        .norm = random() % 2 ? Norm::kL1 : Norm::kL2};
  if (random() % 3 == 0) config.zeros_per_block = random() % (block.rows * block.cols + 1);
  if (random() % 6 == 0) config.zeros_per_block = 0;  // selects, but drops nothing
  return random() % 8 == 0 ? nm_config(2, 4, config.norm) : config;
}

TEST_F(MaxMemory, ChangesNothingInAnyConfig) {
  is_threaded_ = false;  // there are too many pieces to start threads for each
  std::mt19937_64 random(3);
  for (int round = 0; round < 60; ++round) {
    const bool nan = random() % 3 == 0;
    write_file(job_.input, image_of(random_model(nan, random)));
    job_.settings = {.config = random_config(random),
                     .scope = random() % 3 == 0 ? Scope::kGlobal : Scope::kTensor,
                     .force = {"long"},
                     .nan = nan && random() % 2 ? NanPolicy::kKeep : NanPolicy::kError};
    SCOPED_TRACE(config_text(job_.settings));
    expect_no_difference({100, 1000, 6000});
  }
}

// The sizes of pieces and chunks of files that have some.
TEST_F(MaxMemory, ChangesNothingInLargerPieces) {
  std::mt19937_64 random(4);
  write_file(job_.input, image_of({random_tensor("w", DType::kF32, {3000, 701}, false, random),
                                   random_tensor("h", DType::kBF16, {30, 70001}, false, random)}));
  for (const BlockShape block : {BlockShape{1, 1}, {1, 4}, {16, 3}, {4000, 1}}) {
    job_.settings.config.sparse_block_shape = block;
    expect_no_difference({64 << 10, 1 << 20, 16 << 20});
  }
}

TEST_F(MaxMemory, ChangesNothingOfACompressedFile) {
  std::mt19937_64 random(5);
  write_file(dir_.path("dense"),
             image_of({random_tensor("w", DType::kF32, {3000, 701}, false, random)}));
  Progress progress;
  const CompressJob job{.input = dir_.path("dense"), .output = job_.input};
  ASSERT_TRUE(compress_file(Env::posix(), job, threads(), progress).ok());
  for (const bool compress : {false, true}) {
    job_.compress = compress;
    job_.settings.config.sparse_block_shape = {1, 1};
    expect_no_difference({100'000, 1 << 20});
    job_.settings.config.sparse_block_shape = {3000, 1};
    expect_no_difference({1 << 20});
  }
}

TEST_F(MaxMemory, SaysHowMuchIsNeededAtLeast) {
  std::mt19937_64 random(6);
  write_file(job_.input, image_of(random_model(false, random)));
  job_.max_memory = 1;
  const std::string text = prune_whole().text;
  const std::string before = "max_memory: expected at least ";
  ASSERT_NE(text.find(before), std::string::npos) << text;
  const uint64_t least = std::stoull(text.substr(text.find(before) + before.size()));
  EXPECT_TRUE(text.ends_with(" bytes for this file, found 1")) << text;
  EXPECT_FALSE(std::filesystem::exists(job_.output));
  job_.max_memory = least - 1;
  EXPECT_EQ(prune_whole().file, "");
  job_.max_memory = least;
  EXPECT_NE(prune_whole().file, "");
  VerifyJob verify{job_.output, job_.input, std::nullopt, 1};
  Progress progress;
  const Status status = verify_file(Env::posix(), verify, threads(), progress).status();
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(status.message().find(before), std::string::npos) << status.message();
}

// The arithmetic of shares.

PlanEntry entry_of(MatrixShape shape, DataNormConfig config) {
  return {.tensor = 0, .skipped = {}, .config = config, .shape = shape, .guard = {}};
}

TensorInfo tensor_of(DType dtype, MatrixShape shape) {
  return {.name = "w",
          .dtype = dtype,
          .shape = {shape.rows, shape.cols},
          .begin = 0,
          .end = shape.numel() * dtype_bits(dtype) / 8};
}

TEST(TensorMemory, PiecesFitIntoTheLeastShareOfEveryTensor) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  for (const MatrixShape shape :
       {MatrixShape{1, 1}, {1u << 20, 1u << 14}, {1, uint64_t{1} << 34}}) {
    for (const BlockShape block : {BlockShape{1, 1}, {16, 64}, {uint64_t{1} << 40, 1}}) {
      for (const auto zeros : {std::optional<uint64_t>(), std::optional<uint64_t>(1)}) {
        const DataNormConfig config{.sparse_block_shape = block, .zeros_per_block = zeros};
        const checkpoint::TensorMemory memory(tensor_of(DType::kF32, shape),
                                              entry_of(shape, config));
        const uint64_t values = std::max(memory.least(Scope::kGlobal), 8 * kMiB);
        const uint64_t piece = memory.piece({.values = values, .whole = 0, .piece = values / 4});
        const bool has_strip = memory.strip > 0 && piece < memory.row;
        EXPECT_GE(piece, memory.block);
        // Values, masks of half their size at most, and a quarter for the selection.
        EXPECT_LE(piece * 7 / 4 + memory.besides + (has_strip ? memory.strip : 0), values);
      }
    }
  }
}

TEST(ShareMemory, GivesThreadsAtMostHalf) {
  const checkpoint::MemoryNeeds needs{.fixed = 100 << 20, .each_thread = 40 << 20, .values = 0};
  const auto threads = [&](uint64_t mib) {
    return checkpoint::share_memory(mib << 20, needs, 16)->threads;
  };
  EXPECT_EQ(threads(148), 1u);
  EXPECT_EQ(threads(100 + 8 * 40), 4u);
  EXPECT_EQ(threads(100 + 32 * 40), 16u);
  EXPECT_EQ(threads(100'000), 16u);
}

TEST(FewerThreads, RunsEveryTaskOnceOnAsFewThreads) {
  ThreadsFor threads(8);
  checkpoint::FewerThreads fewer(threads, 3);
  EXPECT_EQ(fewer.concurrency(), 3u);
  std::atomic<int> running{0}, most{0};
  std::vector<int> runs(50);
  fewer.run(runs.size(), [&](size_t i) {
    const int now = ++running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    ++runs[i];
    --running;
  });
  EXPECT_EQ(runs, std::vector<int>(50, 1));
  EXPECT_LE(most, 3);
}

}  // namespace
}  // namespace winnow
