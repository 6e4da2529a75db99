#include "winnow/checkpoint/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <new>

#include "checkpoint/test_file.h"
#include "support/threads.h"

namespace winnow {
namespace {

using testing::bytes_of;
using testing::f32;
using testing::image_of;
using testing::TempDir;
using testing::TestTensor;
using testing::write_file;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class InspectFile : public ::testing::Test {
 protected:
  Inspection inspect(const std::vector<TestTensor>& tensors, bool stats, size_t threads = 1) {
    write_file(dir_.path("in"), image_of(tensors, {{"format", "pt"}}));
    testing::ThreadsFor parallel(threads);
    Progress progress;
    auto result = inspect_file(Env::posix(), dir_.path("in"), stats, parallel, progress);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? *result : Inspection();
  }
  TempDir dir_;
};

TEST_F(InspectFile, ListsTheHeader) {
  const Inspection found = inspect({{"ids", DType::kI64, {2}, bytes_of<int64_t>({1, 2})},
                                    f32("a", {2, 2}, {1, 2, 3, 4}),
                                    f32("b", {}, {1}),
                                    f32("none", {0, 5}, {})},
                                   false);
  ASSERT_EQ(found.tensors.size(), 4u);
  EXPECT_EQ(found.tensors[0].tensor.name, "ids");
  EXPECT_EQ(found.tensors[1].stats, std::nullopt);
  EXPECT_EQ(found.metadata, (Metadata{{"format", "pt"}}));
  EXPECT_EQ(found.file_bytes, 8 + found.header_bytes + 16 + 16 + 4);
  ASSERT_EQ(found.dtypes.size(), 2u);
  EXPECT_EQ(found.dtypes[0].dtype, DType::kF32);
  EXPECT_EQ(found.dtypes[0].tensors, 3u);
  EXPECT_EQ(found.dtypes[0].values, 5u);
  EXPECT_EQ(found.dtypes[0].bytes, 20u);
  EXPECT_EQ(found.dtypes[1].dtype, DType::kI64);
}

TEST_F(InspectFile, ListsFurtherNamesBesideTheTensorThatIsStored) {
  write_file(dir_.path("in"), image_of({f32("emb", {1}, {1}), f32("w", {1}, {1})},
                                       {{"lm_head", "emb"}, {"format", "pt"}}));
  SerialFor serial;
  Progress progress;
  const Inspection found =
      inspect_file(Env::posix(), dir_.path("in"), false, serial, progress).value();
  EXPECT_EQ(found.tensors[0].aliases, std::vector<std::string>{"lm_head"});
  EXPECT_TRUE(found.tensors[1].aliases.empty());
  EXPECT_EQ(found.metadata.size(), 2u);
}

TEST_F(InspectFile, SummarisesValues) {
  const Inspection found = inspect({f32("a", {7}, {0.0f, -0.0f, -3, 1, kNan, kInf, -kInf}),
                                    f32("nan", {2}, {kNan, kNan}),
                                    f32("none", {0}, {}),
                                    {"ids", DType::kI64, {1}, bytes_of<int64_t>({1})}},
                                   true);
  const ValueStats& a = *found.tensors[0].stats;
  EXPECT_EQ(a.zeros, 2u);
  EXPECT_EQ(a.nans, 1u);
  EXPECT_EQ(a.infinities, 2u);
  EXPECT_EQ(a.min, -kInf);
  EXPECT_EQ(a.max, kInf);
  EXPECT_EQ(a.mean_abs, 1.0);  // of 0, 0, 3 and 1
  const ValueStats& nan = *found.tensors[1].stats;
  EXPECT_EQ(nan.nans, 2u);
  EXPECT_EQ(nan.min, 0);
  EXPECT_EQ(nan.max, 0);
  EXPECT_EQ(nan.mean_abs, 0);
  EXPECT_EQ(found.tensors[2].stats->zeros, 0u);
  EXPECT_EQ(found.tensors[3].stats, std::nullopt);
}

// A first chunk of NaN alone must not put its zeros into the range; every chunk must count.
TEST_F(InspectFile, PutsChunksTogether) {
  std::vector<float> values(700'000, kNan);  // chunks are of 262,144 values
  values[262'144] = 5;
  values[524'288] = 7;
  values[699'999] = 6;
  const auto tensor = f32("a", {700'000}, values);
  const Inspection one = inspect({tensor}, true), four = inspect({tensor}, true, 4);
  const ValueStats& stats = *one.tensors[0].stats;
  EXPECT_EQ(stats.nans, 699'997u);
  EXPECT_EQ(stats.min, 5);
  EXPECT_EQ(stats.max, 7);
  EXPECT_EQ(stats.mean_abs, 6);
  EXPECT_EQ(four.tensors[0].stats->mean_abs, stats.mean_abs);
  EXPECT_EQ(four.tensors[0].stats->min, stats.min);
}

TEST_F(InspectFile, TheMeanOfFiniteValuesIsFinite) {
  constexpr double kMax = std::numeric_limits<double>::max();
  std::vector<double> values(300'000);  // chunks are of 131,072 values
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 2 == 0 ? kMax : -kMax;
  const std::vector<double> mixed = {kMax, -kMax, kMax / 2, 1, 5e-324, 0};
  const Inspection found = inspect(
      {{"a", DType::kF64, {300'000}, bytes_of(values)}, {"b", DType::kF64, {6}, bytes_of(mixed)}},
      true);
  EXPECT_DOUBLE_EQ(found.tensors[0].stats->mean_abs, kMax);
  EXPECT_DOUBLE_EQ(found.tensors[1].stats->mean_abs, kMax / 6 * 2.5);
}

TEST_F(InspectFile, ReportsWhatIsNoSafetensorsFile) {
  write_file(dir_.path("in"), "short");
  SerialFor serial;
  Progress progress;
  EXPECT_EQ(inspect_file(Env::posix(), dir_.path("in"), true, serial, progress).status().code(),
            SafetensorsError::kFileTooShort);
}

// Whatever allocates below, its failure leaves the call as a Status that names the file.
TEST_F(InspectFile, RunningOutOfMemoryIsAnErrorThatNamesTheFile) {
  struct Exhausted : ParallelFor {
    void run(size_t, const std::function<void(size_t)>&) override { throw std::bad_alloc(); }
    size_t concurrency() const noexcept override { return 1; }
  } threads;
  Progress progress;
  write_file(dir_.path("in"), image_of({f32("a", {1}, {1})}));
  const Status status =
      inspect_file(Env::posix(), dir_.path("in"), true, threads, progress).status();
  EXPECT_EQ(status.code(), ErrorCode::kOutOfMemory);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("in: not enough memory"));
}

}  // namespace
}  // namespace winnow
