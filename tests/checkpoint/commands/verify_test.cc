#include "winnow/checkpoint/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <new>

#include "checkpoint/test_file.h"
#include "winnow/checkpoint/prune.h"

namespace winnow {
namespace {

using testing::bytes_of;
using testing::f32;
using ::testing::HasSubstr;
using testing::image_of;
using testing::read_file;
using testing::TempDir;
using testing::TestTensor;
using testing::write_file;

// What pruning leaves of `model` at 0.5 with blocks of 1 x 1, and how the tests spoil it.
class VerifyFile : public ::testing::Test {
 protected:
  VerifyFile() {
    settings_.config.sparse_block_shape = {1, 1};
    write_file(dir_.path("in"), image_of(model_, {{"format", "pt"}}));
  }

  Result<VerifyResult> verify(std::optional<PruneSettings> settings) {
    const VerifyJob job{dir_.path("out"), dir_.path("in"), std::move(settings)};
    SerialFor serial;
    Progress progress;
    return verify_file(Env::posix(), job, serial, progress);
  }

  void prune() {
    const PruneJob job{.input = dir_.path("in"),
                       .output = dir_.path("out"),
                       .settings = settings_,
                       .overwrite = true};
    SerialFor serial;
    Progress progress;
    ASSERT_TRUE(prune_file(Env::posix(), job, serial, progress).ok());
  }

  // Writes an output of these tensors and expects the check to fail with a message.
  void expect_violation(const std::vector<TestTensor>& pruned, const std::string& message,
                        const Metadata& metadata = {{"format", "pt"}}) {
    write_file(dir_.path("out"), image_of(pruned, metadata));
    const Status status = verify(settings_).status();
    EXPECT_EQ(status.code(), ErrorCode::kCheckFailed) << status.message();
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_THAT(std::string(status.message()), HasSubstr("out: "));
  }

  TempDir dir_;
  PruneSettings settings_;
  const std::vector<TestTensor> model_ = {f32("w", {2, 4}, {1, -2, 3, -4, 5, -6, 7, -8}),
                                          f32("bias", {3}, {0.5f, -0.0f, 0})};
  std::vector<TestTensor> pruned_ = {f32("w", {2, 4}, {0, 0, 0, 0, 5, -6, 7, -8}), model_[1]};
};

TEST_F(VerifyFile, AcceptsWhatPruneWrote) {
  prune();
  const Result<VerifyResult> result = verify(std::nullopt);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->tensors, 2u);
  EXPECT_EQ(result->pruned_tensors, 1u);
  EXPECT_EQ(result->values, 8u);
  EXPECT_EQ(result->dropped_values, 4u);
  EXPECT_EQ(result->bytes, 44u);
  EXPECT_TRUE(verify(settings_).ok());
}

TEST_F(VerifyFile, AcceptsEveryKindOfSettings) {
  for (const Scope scope : {Scope::kTensor, Scope::kGlobal}) {
    for (const double level : {0.0, 0.3, 1.0}) {
      settings_.scope = scope;
      settings_.config.sparsity_level = level;
      settings_.force = {"*"};
      prune();
      EXPECT_TRUE(verify(std::nullopt).ok());
    }
  }
}

// prune_file computes the masks of single tensors without a search over passes.
TEST_F(VerifyFile, PatternsForTiedNamesMeanTheSameAsInPrune) {
  write_file(dir_.path("in"), image_of({f32("emb", {2, 2}, {1, 2, 3, 4}), model_[0]},
                                       {{"lm_head", "emb"}, {"rope.inv_freq", "w"}}));
  settings_.exclude = {"lm_head"};
  settings_.force = {"rope*"};
  ASSERT_NO_FATAL_FAILURE(prune());
  for (const auto& settings : {std::optional<PruneSettings>(), std::optional(settings_)}) {
    const Result<VerifyResult> result = verify(settings);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->pruned_tensors, 1u);
    EXPECT_EQ(result->dropped_values, 4u);
    EXPECT_EQ(result->left_alone, 0u);
  }
  settings_.force = {};
  ASSERT_NO_FATAL_FAILURE(prune());
  EXPECT_EQ(verify({}).value().left_alone, 1u);
}

TEST_F(VerifyFile, ProgressCountsTheBytesOfBothFiles) {
  prune();
  testing::CountingProgress progress;
  SerialFor serial;
  const VerifyJob job{dir_.path("out"), dir_.path("in"), settings_};
  ASSERT_TRUE(verify_file(Env::posix(), job, serial, progress).ok());
  ASSERT_EQ(progress.stages.size(), 1u);
  EXPECT_EQ(progress.stages[0], (testing::CountingProgress::Stage{"verify", 88, 88}));
}

TEST_F(VerifyFile, AcceptsAnHonestFileOfSomeoneElse) {
  write_file(dir_.path("out"), image_of(pruned_, {{"winnow.version", "?"}, {"format", "pt"}}));
  EXPECT_TRUE(verify(settings_).ok());
  EXPECT_EQ(verify(std::nullopt).status().code(), ErrorCode::kInvalidArgument);
}

TEST_F(VerifyFile, NamesADroppedValueThatIsStillThere) {
  pruned_[0] = f32("w", {2, 4}, {0, 0, 3, 0, 5, -6, 7, -8});
  expect_violation(pruned_,
                   "tensor 'w' at [0, 2]: expected the dropped value 0 (0x00000000), "
                   "found 3 (0x40400000)");
}

TEST_F(VerifyFile, NamesANegativeZero) {
  pruned_[0] = f32("w", {2, 4}, {0, -0.0f, 0, 0, 5, -6, 7, -8});
  expect_violation(pruned_, "'w' at [0, 1]: expected the dropped value 0 (0x00000000), found -0");
}

TEST_F(VerifyFile, NamesASurvivorWithOneBitFlipped) {
  pruned_[0].bytes[31] ^= 0x01;
  expect_violation(pruned_, "'w' at [1, 3]: expected the original's value -8 (0xc1000000), found");
}

TEST_F(VerifyFile, NamesAValueThatFellWithoutNeed) {
  pruned_[0] = f32("w", {2, 4}, {0, 0, 0, 0, 0, -6, 7, -8});
  expect_violation(pruned_, "'w' at [1, 0]: expected the original's value 5");
}

TEST_F(VerifyFile, NamesTheByteOfATensorThatIsNotPruned) {
  pruned_[1].bytes[7] = 0;  // -0.0 became +0.0
  expect_violation(pruned_, "'bias' (not pruned) at byte 7: expected 0x80, found 0x00");
}

TEST_F(VerifyFile, NamesTheFirstOfSeveral) {
  pruned_[0].bytes[31] ^= 0x01;
  pruned_[1].bytes[7] = 0;
  expect_violation(pruned_, "'w' at [1, 3]");
}

TEST_F(VerifyFile, NamesDifferencesOfTheHeaders) {
  auto renamed = pruned_, typed = pruned_, shaped = pruned_, shorter = pruned_, longer = pruned_;
  renamed[0].name = "v";
  typed[0].dtype = DType::kI32;
  shaped[0].shape = {4, 2};
  shorter.pop_back();
  longer.push_back(f32("more", {1}, {1}));
  expect_violation(renamed, "tensor 0: expected the name 'w', found 'v'");
  expect_violation(typed, "'w': expected F32 [2, 4], found I32 [2, 4]");
  expect_violation(shaped, "'w': expected F32 [2, 4], found F32 [4, 2]");
  expect_violation(shorter, "expected 2 tensors, found 1");
  expect_violation(longer, "expected 2 tensors, found 3");
}

TEST_F(VerifyFile, NamesLostAndChangedMetadata) {
  expect_violation(pruned_, "metadata entry 'format': expected 'pt', found no such entry", {});
  expect_violation(pruned_, "metadata entry 'format': expected 'pt', found 'np'",
                   {{"format", "np"}});
}

TEST_F(VerifyFile, NamesAddedMetadata) {
  expect_violation(pruned_, "metadata entry 'more': expected no such entry, found 'x'",
                   {{"winnow.more", "y"}, {"more", "x"}, {"format", "pt"}});
}

TEST_F(VerifyFile, FindsViolationsPastTheFirstChunk) {
  std::vector<float> values(600'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  write_file(dir_.path("in"), image_of({f32("w", {600, 1000}, values)}));
  std::fill(values.begin(), values.begin() + 300'000, 0.0f);
  values[599'998] = 1;
  expect_violation({f32("w", {600, 1000}, values)}, "at [599, 998]", {});
}

TEST_F(VerifyFile, KnowsTheRowsThatAreKeptWhole) {
  const TestTensor g = f32("weight_g", {3, 1}, {1, 1, 1});
  write_file(dir_.path("in"), image_of({g, f32("weight_v", {3, 2}, {1, 1, 3, 4, 2, 5})}));
  prune();
  const Result<VerifyResult> result = verify(std::nullopt);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->left_alone, 1u);
  EXPECT_EQ(result->kept_rows, 1u);
  EXPECT_EQ(result->dropped_values, 1u);
  expect_violation({g, f32("weight_v", {3, 2}, {0, 0, 3, 4, 0, 5})},
                   "'weight_v' at [0, 0]: expected the original's value 1", {});
}

TEST_F(VerifyFile, CountsWhatTheDefaultSelectionLeavesAlone) {
  prune();
  EXPECT_EQ(verify(std::nullopt)->left_alone, 1u);
  settings_.exclude = {"bias"};
  prune();
  EXPECT_EQ(verify(std::nullopt)->left_alone, 0u);
}

// Checked against today's rule, its bytes would be called wrong.
TEST_F(VerifyFile, RefusesAFileOfAnotherRule) {
  std::string text = config_text(settings_);
  text.replace(text.find("\"rule\":1"), 8, "\"rule\":9");
  write_file(dir_.path("out"), image_of(pruned_, {{"format", "pt"}, {"winnow.config", text}}));
  const Status status = verify(std::nullopt).status();
  EXPECT_EQ(status.code(), ErrorCode::kOtherRule);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found rule 9"));
  EXPECT_TRUE(verify(settings_).ok());
}

TEST_F(VerifyFile, DoesNotTrustTheRecordedSettings) {
  for (const char* text : {"", "{}", "{\"level\":0.5}", "\xf0\x9f\x98\x80"}) {
    write_file(dir_.path("out"), image_of(pruned_, {{"format", "pt"}, {"winnow.config", text}}));
    const Status status = verify(std::nullopt).status();
    EXPECT_EQ(status.code(), ErrorCode::kBadSettings) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("winnow.config"));
  }
  PruneSettings evil = settings_;
  evil.include = {"re:("};
  write_file(dir_.path("out"),
             image_of(pruned_, {{"format", "pt"}, {"winnow.config", config_text(evil)}}));
  EXPECT_FALSE(verify(std::nullopt).ok());
}

TEST_F(VerifyFile, ANanInTheOriginalIsReportedAsSuch) {
  write_file(dir_.path("in"), image_of({f32("w", {2, 2}, {std::nanf(""), 1, 2, 3})}));
  write_file(dir_.path("out"), image_of({f32("w", {2, 2}, {std::nanf(""), 0, 0, 3})}));
  EXPECT_EQ(verify(settings_).status().code(), ErrorCode::kNanValue);
  settings_.nan = NanPolicy::kKeep;
  EXPECT_TRUE(verify(settings_).ok());
}

// Whatever allocates below, its failure leaves the call as a Status that names the file.
TEST_F(VerifyFile, RunningOutOfMemoryIsAnErrorThatNamesTheFile) {
  struct Exhausted : ParallelFor {
    void run(size_t, const std::function<void(size_t)>&) override { throw std::bad_alloc(); }
    size_t concurrency() const noexcept override { return 1; }
  } threads;
  Progress progress;
  prune();
  const VerifyJob job{dir_.path("out"), dir_.path("in"), settings_};
  const Status status = verify_file(Env::posix(), job, threads, progress).status();
  EXPECT_EQ(status.code(), ErrorCode::kOutOfMemory);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("in: not enough memory"));
}

}  // namespace
}  // namespace winnow
