// Every call to the system made to fail in turn, while a file is compressed and decompressed: what
// was there stays, and nothing is left beside it.
#include <gtest/gtest.h>

#include <cerrno>

#include "checkpoint/test_file.h"
#include "io/fault_env.h"
#include "sparse/value_sets.h"
#include "winnow/checkpoint/compress.h"

namespace winnow {
namespace {

using testing::FailedRun;
using testing::FaultPlan;
using testing::for_each_failing_call;
using testing::read_file;
using testing::TempDir;
using testing::write_file;

using Convert = Result<CompressResult> (*)(Env&, const CompressJob&, ParallelFor&, Progress&);

struct Scene {
  Convert convert;
  const char* input;
  bool tear;
};

class CompressFaults : public ::testing::TestWithParam<Scene> {
 protected:
  CompressFaults() {
    const auto values = testing::pruned_normal(DType::kF32, 1'500'000, 0.9);
    const std::string bytes(reinterpret_cast<const char*>(values.data()), values.size());
    write_file(dir_.path("plain"), testing::image_of({{"w", DType::kF32, {15'000, 100}, bytes},
                                                      {"ids", DType::kU8, {3}, "abc"}}));
    CompressJob job;
    job.input = dir_.path("plain");
    job.output = dir_.path("small");
    EXPECT_TRUE(compress_file(Env::posix(), job, serial_, progress_).ok());
    write_file(dir_.path("other"), "precious");
  }

  Status convert(Env& env) {
    CompressJob job;
    job.input = dir_.path(GetParam().input);
    job.output = dir_.path("other");
    job.overwrite = true;
    return GetParam().convert(env, job, serial_, progress_).status();
  }

  TempDir dir_;
  SerialFor serial_;
  Progress progress_;
};

TEST_P(CompressFaults, EveryFailingCallLeavesTheOldFiles) {
  const auto names = dir_.names();
  const std::string input = read_file(dir_.path(GetParam().input));
  int failures = 0;
  const FaultPlan fault{.tear = GetParam().tear, .error = ENOSPC};
  const auto check = [&](const FailedRun& run) {
    if (run.status.ok() || run.status.code() == ErrorCode::kNotDurable) {
      write_file(dir_.path("other"), "precious");
      return;
    }
    if (read_file(dir_.path("other")) != "precious") {
      // The output is in place: only what was read of it afterwards failed.
      EXPECT_TRUE(std::find(run.calls.begin(), run.calls.end(), "rename") != run.calls.end());
      write_file(dir_.path("other"), "precious");
      return;
    }
    ++failures;
    EXPECT_EQ(run.status.code(), ErrorCode::kIoError) << run.what << ": " << run.status.message();
    if (run.call == "remove") return;  // the next run takes the file away
    EXPECT_EQ(dir_.names(), names) << run.what;
    ASSERT_EQ(read_file(dir_.path(GetParam().input)), input) << run.what;
  };
  for_each_failing_call(
      fault, [&](Env& env) { return convert(env); }, check);
  EXPECT_GT(failures, 12);
}

INSTANTIATE_TEST_SUITE_P(Commands, CompressFaults,
                         ::testing::Values(Scene{compress_file, "plain", false},
                                           Scene{compress_file, "plain", true},
                                           Scene{decompress_file, "small", false}));

}  // namespace
}  // namespace winnow
