// Every call to the system made to fail in turn, while a file is pruned to another and onto itself:
// what was there stays, and nothing is left beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

#include "checkpoint/test_file.h"
#include "io/fault_env.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace winnow {
namespace {

using testing::f32;
using testing::FailedRun;
using testing::for_each_failing_call;
using testing::image_of;
using testing::read_file;
using testing::TempDir;
using testing::write_file;

// Some megabytes in both kinds of tensors, so that there are several reads and writes of each.
std::string model() {
  std::vector<float> values(700'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1013);
  return image_of({f32("w", {700, 1000}, values), f32("bias", {700'000}, values)});
}

struct Scene {
  std::string output;  ///< relative to the directory
  Scope scope;
};

class PruneFaults : public ::testing::TestWithParam<Scene> {
 protected:
  PruneFaults() {
    write_file(dir_.path("in"), model_);
    write_file(dir_.path("other"), "precious");
  }

  Status prune(Env& env) {
    PruneJob job{.input = dir_.path("in"),
                 .output = dir_.path(GetParam().output),
                 .settings = {},
                 .overwrite = true};
    job.settings.scope = GetParam().scope;
    SerialFor serial;
    Progress progress;
    return prune_file(env, job, serial, progress).status();
  }

  const std::string model_ = model();
  TempDir dir_;
};

TEST_P(PruneFaults, EveryFailingCallLeavesTheOldFiles) {
  const auto names = dir_.names();
  int failures = 0;
  const auto check = [&](const FailedRun& run) {
    if (run.status.code() == ErrorCode::kNotDurable) return;  // the new file is in place
    if (run.status.ok()) return;  // a call whose failure is no failure of the whole
    ++failures;
    EXPECT_EQ(run.status.code(), ErrorCode::kIoError) << run.what << ": " << run.status.message();
    // A failing removal can leave the temporary file, which the next run then takes away.
    if (run.call == "remove") return;
    EXPECT_EQ(dir_.names(), names) << run.what;
    ASSERT_EQ(read_file(dir_.path("in")), model_) << run.what;
    ASSERT_EQ(read_file(dir_.path("other")), "precious") << run.what;
  };
  for_each_failing_call(
      {.error = EIO}, [&](Env& env) { return prune(env); }, check);
  EXPECT_GT(failures, 15);
}

INSTANTIATE_TEST_SUITE_P(Outputs, PruneFaults,
                         ::testing::Values(Scene{"other", Scope::kTensor},
                                           Scene{"in", Scope::kTensor},
                                           Scene{"other", Scope::kGlobal}));

// Changes the input before the call of that name and number.
class ChangingProgress final : public Progress {
 public:
  explicit ChangingProgress(std::function<void()> change) : change_(std::move(change)) {}
  void begin(std::string_view, uint64_t) override { ++stages; }
  void advance(uint64_t) override {
    if (change_) std::exchange(change_, nullptr)();
  }
  int stages = 0;

 private:
  std::function<void()> change_;
};

class ChangedInput : public ::testing::Test {
 protected:
  Status prune_while(std::function<void()> change, Scope scope = Scope::kTensor) {
    write_file(dir_.path("in"), model());
    PruneJob job{.input = dir_.path("in"), .output = dir_.path("out"), .settings = {}};
    job.settings.scope = scope;
    SerialFor serial;
    ChangingProgress progress(std::move(change));
    const Status status = prune_file(Env::posix(), job, serial, progress).status();
    stages_ = progress.stages;
    return status;
  }
  void write_last_byte() {
    std::fstream file(dir_.path("in"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('x');
  }
  int stages_ = 0;
  TempDir dir_;
};

TEST_F(ChangedInput, AnInputThatIsWrittenToMeanwhileGivesNoOutput) {
  const Status status = prune_while([&] { write_last_byte(); });
  EXPECT_EQ(status.code(), ErrorCode::kInputChanged) << status.message();
  EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
}

TEST_F(ChangedInput, AChangeInAPassOfAGlobalScopeEndsTheRunWithThatPass) {
  const Status status = prune_while([&] { write_last_byte(); }, Scope::kGlobal);
  EXPECT_EQ(status.code(), ErrorCode::kInputChanged) << status.message();
  EXPECT_EQ(stages_, 1);
  EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
}

TEST_F(ChangedInput, AnInputThatIsCutShortMeanwhileGivesNoOutput) {
  const Status status =
      prune_while([&] { std::filesystem::resize_file(dir_.path("in"), 3'000'000); });
  EXPECT_EQ(status.code(), ErrorCode::kInputChanged) << status.message();
  EXPECT_EQ(dir_.names(), std::vector<std::string>{"in"});
}

}  // namespace
}  // namespace winnow
