#include "winnow/checkpoint/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <new>

#include "checkpoint/test_file.h"
#include "support/threads.h"
#include "winnow/base/version.h"

namespace winnow {
namespace {

using testing::bytes_of;
using testing::data_of;
using ::testing::ElementsAre;
using testing::f32;
using ::testing::HasSubstr;
using testing::header_of;
using testing::image_of;
using testing::metadata_of;
using testing::read_file;
using testing::TempDir;
using testing::TestTensor;
using ::testing::UnorderedElementsAre;
using testing::values_of;
using testing::write_file;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A prunable matrix between two tensors that are not, and one of each other prunable type.
std::vector<TestTensor> model() {
  return {{"ids", DType::kI64, {2}, bytes_of<int64_t>({7, -7})},
          f32("w", {2, 4}, {1, -2, 3, -4, 5, -6, 7, -8}),
          f32("bias", {3}, {0.5f, -0.0f, 0}),
          {"d", DType::kF64, {2, 2}, bytes_of<double>({1, 2, 3, 4})},
          {"h", DType::kF16, {2, 2}, bytes_of<uint16_t>({0x3c00, 0x0001, 0xbc00, 0x4000})},
          {"b", DType::kBF16, {2, 2}, bytes_of<uint16_t>({0x3f80, 0x0001, 0xbf80, 0x4000})},
          {"empty", DType::kF32, {0, 3}, ""}};
}

// An input in a directory of its own, and the call under test.
class PruneFile : public ::testing::Test {
 protected:
  PruneFile() {
    job_.input = dir_.path("in");
    job_.output = dir_.path("out");
    job_.settings.config.sparse_block_shape = {1, 1};
  }

  void write_input(const std::vector<TestTensor>& tensors, const Metadata& metadata = {}) {
    write_file(job_.input, image_of(tensors, metadata));
  }

  Result<PruneResult> prune() {
    Progress progress;
    SerialFor serial;
    return prune_file(Env::posix(), job_, serial, progress);
  }

  void expect_error(StatusCode code, const std::string& part) {
    const Status status = prune().status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    EXPECT_THAT(dir_.names(), ElementsAre("in")) << "something was left behind";
  }

  TempDir dir_;
  PruneJob job_;
};

TEST_F(PruneFile, SetsTheSmallestHalfToPlusZero) {
  write_input(model());
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(data_of(job_.output, "w"), bytes_of<float>({0, 0, 0, 0, 5, -6, 7, -8}));
  EXPECT_EQ(data_of(job_.output, "d"), bytes_of<double>({0, 0, 3, 4}));
  EXPECT_EQ(data_of(job_.output, "h"), bytes_of<uint16_t>({0, 0, 0xbc00, 0x4000}));
  EXPECT_EQ(data_of(job_.output, "b"), bytes_of<uint16_t>({0, 0, 0xbf80, 0x4000}));
}

TEST_F(PruneFile, CarriesEverythingElseOverByteForByte) {
  write_input(model(), {{"format", "pt"}, {"k\n", "\u00fc"}});
  ASSERT_TRUE(prune().ok());
  const auto before = header_of(job_.input), after = header_of(job_.output);
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  for (size_t i = 0; i < before.tensors().size(); ++i) {
    EXPECT_EQ(before.tensors()[i].name, after.tensors()[i].name);
    EXPECT_EQ(before.tensors()[i].shape, after.tensors()[i].shape);
    EXPECT_EQ(before.tensors()[i].begin, after.tensors()[i].begin);
  }
  for (const char* name : {"ids", "bias", "empty"}) {
    EXPECT_EQ(data_of(job_.output, name), data_of(job_.input, name)) << name;
  }
  EXPECT_EQ(metadata_of(job_.output, "format"), "pt");
  EXPECT_EQ(metadata_of(job_.output, "k\n"), "\u00fc");
}

TEST_F(PruneFile, RecordsVersionAndSettingsAndNothingElse) {
  write_input(model(), {{"winnow.config", "old"}, {"format", "pt"}});
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(header_of(job_.output).metadata(),
            (Metadata{{"winnow.config", config_text(job_.settings)},
                      {"format", "pt"},
                      {"winnow.version", WINNOW_VERSION}}));
}

TEST_F(PruneFile, ReportsWhatItDid) {
  write_input(model());
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok());
  const TensorReport& w = result->tensors[1];
  EXPECT_EQ(w.tensor.name, "w");
  EXPECT_EQ(w.skipped, std::nullopt);
  EXPECT_EQ(w.sparsity_level, 0.5);
  EXPECT_EQ(w.blocks, 8u);
  EXPECT_EQ(w.selected_blocks, 4u);
  EXPECT_EQ(w.zeros_before, 0u);
  EXPECT_EQ(w.zeros_after, 4u);
  EXPECT_EQ(result->tensors[2].skipped, SkipReason(LeftAlone::kVector));
  EXPECT_EQ(result->input_bytes, std::filesystem::file_size(job_.input));
  EXPECT_EQ(result->output_bytes, std::filesystem::file_size(job_.output));
}

TEST_F(PruneFile, CountsZerosOfBothSignsBeforeAndAfter) {
  write_input({f32("w", {2, 2}, {0.0f, -0.0f, 1, 2})});
  job_.settings.config.sparsity_level = 0.75;
  const Result<PruneResult> result = prune();
  EXPECT_EQ(result->tensors[0].zeros_before, 2u);
  EXPECT_EQ(result->tensors[0].zeros_after, 3u);
  EXPECT_EQ(data_of(job_.output, "w"), bytes_of<float>({0, 0, 0, 2}));
}

TEST_F(PruneFile, LevelRulesReplaceTheLevel) {
  write_input(model());
  job_.settings.levels = {{"w", 0.25}, {"*", 0.0}};
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(values_of<float>(job_.output, "w"), (std::vector<float>{0, 0, 3, -4, 5, -6, 7, -8}));
  EXPECT_EQ(data_of(job_.output, "d"), data_of(job_.input, "d"));
}

TEST_F(PruneFile, AGlobalScopeSpendsOneBudgetInFileOrder) {
  // Twelve blocks, half of them fall: the five small ones, and of the equal ones the first.
  write_input({f32("a", {2, 2}, {3, 9, 9, 9}), f32("b", {2, 4}, {1, 1, 1, 1, 1, 3, 3, 9})});
  job_.settings.scope = Scope::kGlobal;
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(values_of<float>(job_.output, "a"), (std::vector<float>{0, 9, 9, 9}));
  EXPECT_EQ(values_of<float>(job_.output, "b"), (std::vector<float>{0, 0, 0, 0, 0, 3, 3, 9}));
  EXPECT_EQ(result->tensors[0].selected_blocks + result->tensors[1].selected_blocks, 6u);
}

TEST_F(PruneFile, LeavesAloneWhatTheDefaultSelectionDoes) {
  write_input({{"q.weight", DType::kI8, {2, 4}, std::string(8, '\1')},
               f32("q.scales", {2, 2}, {1, 2, 3, 4}),
               f32("attn.bias", {1, 1, 2, 2}, {1, 0, 1, 1}),
               f32("gamma", {4, 1, 1}, {1, 2, 3, 4}),
               f32("w", {2, 2}, {1, 2, 3, 4})});
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok()) << result.status().message();
  for (const char* name : {"q.scales", "attn.bias", "gamma"}) {
    EXPECT_EQ(data_of(job_.output, name), data_of(job_.input, name)) << name;
  }
  EXPECT_EQ(result->tensors[1].skipped, SkipReason(LeftAlone::kQuantized));
  EXPECT_EQ(result->tensors[2].skipped, SkipReason(LeftAlone::kMask));
  EXPECT_EQ(result->tensors[4].skipped, std::nullopt);
}

TEST_F(PruneFile, APatternForATiedNameFindsWhatIsStored) {
  write_file(job_.input,
             image_of({f32("emb", {2, 2}, {1, 2, 3, 4}), f32("w", {2, 2}, {1, 2, 3, 4})},
                      {{"lm_head", "emb"}, {"decoder", "emb"}}));
  job_.settings.exclude = {"lm_*"};
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->tensors[0].skipped, SkipReason(PatternReason::kExcluded));
  EXPECT_EQ(result->tensors[0].aliases, (std::vector<std::string>{"lm_head", "decoder"}));
  EXPECT_EQ(data_of(job_.output, "emb"), data_of(job_.input, "emb"));
  EXPECT_EQ(result->tensors[1].skipped, std::nullopt);
  EXPECT_TRUE(result->tensors[1].aliases.empty());
  EXPECT_EQ(metadata_of(job_.output, "lm_head"), "emb");
}

// The rows' norms are divided by. Of six rows the two small ones would fall whole.
TEST_F(PruneFile, KeepsRowsOfADirectionThatWouldFallWhole) {
  write_input({f32("weight_g", {6, 1}, {1, 1, 1, 1, 1, 1}),
               f32("weight_v", {6, 2}, {5, 6, 1, 1, 4, 7, 8, 3, 2, 2, 3, 9})});
  for (const Scope scope : {Scope::kTensor, Scope::kGlobal}) {
    job_.settings.scope = scope;
    job_.overwrite = true;
    const Result<PruneResult> result = prune();
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(values_of<float>(job_.output, "weight_v"),
              (std::vector<float>{5, 6, 1, 1, 4, 7, 8, 0, 2, 2, 0, 9}));
    const TensorReport& v = result->tensors[1];
    EXPECT_EQ(v.kept_rows, 2u);
    EXPECT_EQ(v.selected_blocks, 6u);
    EXPECT_EQ(v.zeros_after, 2u);
  }
  job_.settings.force = {"weight_v"};
  const Result<PruneResult> forced = prune();
  EXPECT_EQ(values_of<float>(job_.output, "weight_v"),
            (std::vector<float>{5, 6, 0, 0, 4, 7, 8, 0, 0, 0, 0, 9}));
  EXPECT_EQ(forced->tensors[1].kept_rows, 0u);
}

TEST_F(PruneFile, AnIncludePatternForWhatIsLeftAloneIsAnError) {
  write_input(model());
  job_.settings.include = {"bias"};
  expect_error(ErrorCode::kLeftAlone, "in: include pattern 'bias' matches only what the default");
  job_.settings.force = {"bias"};
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(values_of<float>(job_.output, "bias"), (std::vector<float>{0.5f, 0, 0}));
}

TEST_F(PruneFile, ANanIsAnErrorThatNamesTheFirst) {
  write_input({f32("a", {2, 2}, {1, 2, 3, 4}), f32("w", {2, 1, 3}, {1, 2, 3, 4, kNan, kNan}),
               f32("z", {2, 2}, {kNan, 1, 2, 3})});
  expect_error(ErrorCode::kNanValue, "in: tensor 'w' at [1, 0, 1]: expected a number, found NaN");
  job_.settings.scope = Scope::kGlobal;
  expect_error(ErrorCode::kNanValue, "'w' at [1, 0, 1]");
  job_.settings.config.sparsity_level = 0;  // known without a pass over the file
  expect_error(ErrorCode::kNanValue, "'w' at [1, 0, 1]");
  job_.dry_run = true;
  expect_error(ErrorCode::kNanValue, "'w' at [1, 0, 1]");
}

TEST_F(PruneFile, ANanInATensorThatIsNotPrunedIsCarriedOver) {
  write_input({f32("w", {2, 2}, {1, 2, 3, 4}), f32("bias", {1}, {kNan})});
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(data_of(job_.output, "bias"), data_of(job_.input, "bias"));
}

TEST_F(PruneFile, KeepRanksNanLast) {
  write_input({f32("w", {2, 2}, {kNan, 1, 2, kNan})});
  job_.settings.nan = NanPolicy::kKeep;
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(data_of(job_.output, "w"), bytes_of<float>({kNan, 0, 0, kNan}));
}

TEST_F(PruneFile, FindsNanPastTheFirstChunk) {
  std::vector<float> values(600'000, 1.0f);  // 2.4 MB
  values[599'999] = kNan;
  write_input({f32("w", {600, 1000}, values)});
  expect_error(ErrorCode::kNanValue, "at [599, 999]");
}

TEST_F(PruneFile, ADryRunComputesAndWritesNothing) {
  write_input(model());
  job_.dry_run = true;
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->tensors[1].zeros_after, 4u);
  EXPECT_THAT(dir_.names(), ElementsAre("in"));
  job_.dry_run = false;
  EXPECT_EQ(prune()->output_bytes, result->output_bytes);
}

TEST_F(PruneFile, TotalsAreSumsOverTheReports) {
  write_input(model());
  const Result<PruneResult> result = prune();
  ASSERT_TRUE(result.ok()) << result.status().message();
  uint64_t values = 0, pruned = 0, pruned_values = 0, zeros = 0;
  for (const TensorReport& report : result->tensors) {
    values += report.tensor.numel();
    pruned += report.skipped ? 0 : 1;
    pruned_values += report.skipped ? 0 : report.tensor.numel();
    zeros += report.zeros_after;
  }
  EXPECT_EQ(result->totals.tensors, result->tensors.size());
  EXPECT_EQ(result->totals.values, values);
  EXPECT_EQ(result->totals.pruned_tensors, pruned);
  EXPECT_EQ(result->totals.pruned_values, pruned_values);
  EXPECT_EQ(result->totals.zeros_after, zeros);
  EXPECT_LT(pruned, result->tensors.size());
  EXPECT_GT(zeros, 0u);
}

TEST_F(PruneFile, ADryRunChecksTheOutput) {
  write_input(model());
  write_file(dir_.path("old"), "precious");
  std::filesystem::create_directory(dir_.path("dir"));
  std::filesystem::create_symlink(dir_.path("nothing"), dir_.path("dangling"));
  const auto names = dir_.names();
  const auto code = [&](const std::string& output, bool dry_run) {
    job_.output = output.empty() ? "" : dir_.path(output);
    job_.dry_run = dry_run;
    return prune().status().code();
  };
  const std::pair<const char*, StatusCode> outputs[] = {
      {"old", ErrorCode::kAlreadyExists},        {"in", ErrorCode::kSameFile},
      {"dir", ErrorCode::kUnsupportedFile},      {"new/", ErrorCode::kUnsupportedFile},
      {"dangling", ErrorCode::kUnsupportedFile}, {"no/such/dir", ErrorCode::kIoError},
      {"old/file", ErrorCode::kIoError}};
  for (const auto& [output, expected] : outputs) {
    EXPECT_EQ(code(output, true), expected) << output;
    EXPECT_EQ(code(output, false), expected) << output;
  }
  EXPECT_EQ(code("", true), ErrorCode::kOk);
  EXPECT_EQ(code("new", true), ErrorCode::kOk);
  EXPECT_EQ(code("dir/new", true), ErrorCode::kOk);
  job_.overwrite = true;
  EXPECT_EQ(code("old", true), ErrorCode::kOk);
  EXPECT_EQ(code("in", true), ErrorCode::kOk);
  EXPECT_EQ(code("dir", true), ErrorCode::kUnsupportedFile);
  EXPECT_EQ(dir_.names(), names);
  EXPECT_EQ(read_file(dir_.path("old")), "precious");
}

TEST_F(PruneFile, AnOutputThatExistsIsLeftAlone) {
  write_input(model());
  write_file(job_.output, "precious");
  EXPECT_EQ(prune().status().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(job_.output), "precious");
  job_.overwrite = true;
  ASSERT_TRUE(prune().ok());
  EXPECT_NE(read_file(job_.output), "precious");
  EXPECT_THAT(dir_.names(), UnorderedElementsAre("in", "out"));
}

TEST_F(PruneFile, TheInputItselfIsNoOutputWithoutOverwrite) {
  write_input(model());
  const std::string before = read_file(job_.input);
  std::filesystem::create_hard_link(job_.input, dir_.path("hard"));
  std::filesystem::create_symlink(job_.input, dir_.path("soft"));
  for (const char* name : {"in", "hard", "soft"}) {
    job_.output = dir_.path(name);
    EXPECT_EQ(prune().status().code(), ErrorCode::kSameFile) << name;
  }
  EXPECT_EQ(read_file(job_.input), before);
}

TEST_F(PruneFile, OverwritingTheInputGivesWhatAnotherOutputWouldHold) {
  write_input(model());
  ASSERT_TRUE(prune().ok());
  const std::string expected = read_file(job_.output);
  std::filesystem::create_symlink(job_.input, dir_.path("soft"));
  job_.output = dir_.path("soft");
  job_.overwrite = true;
  ASSERT_TRUE(prune().ok());
  EXPECT_EQ(read_file(job_.input), expected);
  EXPECT_TRUE(std::filesystem::is_symlink(dir_.path("soft")));
}

TEST_F(PruneFile, SaysWhichFileALinkLedTo) {
  write_input(model());
  const std::string target = dir_.path("target");
  write_file(target, "old");
  std::filesystem::create_symlink("target", job_.output);
  job_.overwrite = true;
  EXPECT_EQ(prune().value().written, std::string(std::filesystem::canonical(target)));
  job_.output = dir_.path("new");
  EXPECT_EQ(prune().value().written, job_.output);
  job_.dry_run = true;
  EXPECT_EQ(prune().value().written, "");
}

// The input is a file of Hugging Face's cache, and is to be pruned in its place.
TEST_F(PruneFile, AFileThatIsNamedByItsHashIsNotReplacedUnlessAskedFor) {
  const std::string blob = dir_.path(std::string(64, 'a'));
  write_file(blob, image_of(model()));
  std::filesystem::create_symlink(std::string(64, 'a'), job_.input);
  const std::string before = read_file(blob);
  job_.output = job_.input;
  for (const bool overwrite : {false, true}) {
    for (const bool dry_run : {false, true}) {
      job_.overwrite = overwrite;
      job_.dry_run = dry_run;
      const Status status = prune().status();
      EXPECT_EQ(status.code(), ErrorCode::kNamedByHash) << status.message();
      EXPECT_EQ(read_file(blob), before);
    }
  }
  job_.overwrite_blob = true;
  EXPECT_TRUE(prune().ok()) << "a dry run of what was asked for";
  job_.dry_run = false;
  EXPECT_EQ(prune().value().written, std::string(std::filesystem::canonical(blob)));
  EXPECT_NE(read_file(blob), before);
}

TEST_F(PruneFile, IsTheSameForAnyNumberOfThreads) {
  std::vector<float> values(1'500'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 2654435761u % 1009);
  write_input({f32("a", {1500, 1000}, values), f32("b", {1000, 1500}, values)});
  for (const Scope scope : {Scope::kTensor, Scope::kGlobal}) {
    job_.settings.scope = scope;
    job_.overwrite = true;
    ASSERT_TRUE(prune().ok());
    const std::string expected = read_file(job_.output);
    for (const size_t count : {2, 3, 7}) {
      Progress progress;
      testing::ThreadsFor threads(count);
      ASSERT_TRUE(prune_file(Env::posix(), job_, threads, progress).ok());
      EXPECT_EQ(read_file(job_.output), expected) << count << " threads";
    }
  }
}

TEST_F(PruneFile, ProgressCountsWhatIsReadAndWhatIsWritten) {
  using Stages = std::vector<testing::CountingProgress::Stage>;
  write_input({f32("w", {600, 1000}, std::vector<float>(600'000, 1.0f)), f32("bias", {1}, {1})});
  constexpr uint64_t kData = 2'400'004;
  const auto stages = [&](Scope scope, bool dry_run) {
    job_.settings.scope = scope;
    job_.dry_run = dry_run;
    job_.overwrite = true;
    testing::CountingProgress progress;
    SerialFor serial;
    EXPECT_TRUE(prune_file(Env::posix(), job_, serial, progress).ok());
    return progress.stages;
  };
  EXPECT_EQ(stages(Scope::kTensor, true), (Stages{{"prune", kData, kData}}));
  EXPECT_EQ(stages(Scope::kTensor, false), (Stages{{"prune", 2 * kData, 2 * kData}}));
  const Stages global = stages(Scope::kGlobal, false);
  EXPECT_EQ(global.front(), (Stages::value_type{"select", kData - 4, kData - 4}));
  EXPECT_EQ(global.back(), (Stages::value_type{"prune", 2 * kData, 2 * kData}));
}

TEST_F(PruneFile, AMalformedInputLeavesNothing) {
  write_file(job_.input, "nonsense");
  expect_error(SafetensorsError::kHeaderTooLarge, "in");
}

TEST_F(PruneFile, StopsWhenAskedTo) {
  struct Stopper : Progress {
    bool cancelled() override { return --left < 0; }
    int left = 0;
  };
  write_input(model());
  SerialFor serial;
  int stopped = 0;
  for (int left = 0;; ++left) {
    Stopper stopper;
    stopper.left = left;
    const Status status = prune_file(Env::posix(), job_, serial, stopper).status();
    if (status.ok()) break;
    ++stopped;
    ASSERT_EQ(status.code(), ErrorCode::kInterrupted);
    ASSERT_THAT(dir_.names(), ElementsAre("in"));
  }
  EXPECT_GT(stopped, 5);
}

// Whatever allocates below, its failure leaves the call as a Status that names the file.
TEST_F(PruneFile, RunningOutOfMemoryIsAnErrorThatNamesTheFile) {
  struct Exhausted : ParallelFor {
    void run(size_t, const std::function<void(size_t)>&) override { throw std::bad_alloc(); }
    size_t concurrency() const noexcept override { return 1; }
  } threads;
  Progress progress;
  write_input(model());
  const Status status = prune_file(Env::posix(), job_, threads, progress).status();
  EXPECT_THAT(dir_.names(), ElementsAre("in"));
  EXPECT_EQ(status.code(), ErrorCode::kOutOfMemory);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("in: not enough memory"));
}

}  // namespace
}  // namespace winnow
