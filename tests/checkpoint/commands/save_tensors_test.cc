// Tensors in memory that become a file: in the reference's order, whole or not at all.
#include "winnow/checkpoint/save_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include "checkpoint/test_file.h"
#include "io/fault_env.h"
#include "sparse/value_sets.h"
#include "support/threads.h"
#include "winnow/checkpoint/compress.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ThreadsFor;

class SaveTensors : public ::testing::Test {
 protected:
  std::string path(const std::string& name) { return dir_.path(name); }

  SaveJob job(bool compress = false) {
    return {.output = path("out"), .metadata = {{"format", "pt"}}, .compress = compress};
  }
  Status save(const SaveJob& job, std::span<const TensorData> tensors) {
    return save_tensors(Env::posix(), job, tensors, serial_, progress_);
  }
  std::vector<TensorData> model() const {
    return {{"half", DType::kF16, {2}, std::span(table_).first(4)},
            {"b", DType::kF32, {15'000, 100}, table_},
            {"none", DType::kI64, {0, 3}, {}},
            {"a", DType::kF32, {}, std::span(table_).first(4)}};
  }

  const testing::ByteVector table_ = testing::pruned_normal(DType::kF32, 1'500'000, 0.9);
  testing::TempDir dir_;
  SerialFor serial_;
  Progress progress_;
};

TEST_F(SaveTensors, PutsLargerTypesFirstAndSortsByName) {
  ASSERT_TRUE(save(job(), model()).ok());
  const SafetensorsHeader header = testing::header_of(path("out"));
  std::vector<std::string> names;
  for (const TensorInfo& tensor : header.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("none", "a", "b", "half"));
  EXPECT_EQ(header.metadata(), (Metadata{{"format", "pt"}}));
  for (const TensorData& tensor : model()) {
    const std::string bytes(reinterpret_cast<const char*>(tensor.bytes.data()),
                            tensor.bytes.size());
    EXPECT_TRUE(testing::data_of(path("out"), tensor.name) == bytes) << tensor.name;
  }
}

TEST_F(SaveTensors, CompressesAsCompressFileDoes) {
  ASSERT_TRUE(save(job(), model()).ok());
  CompressJob compress;
  compress.input = path("out");
  compress.output = path("small");
  ASSERT_TRUE(compress_file(Env::posix(), compress, serial_, progress_).ok());
  for (const size_t count : {1, 2, 16}) {
    ThreadsFor threads(count);
    SaveJob small = job(true);
    small.overwrite = true;
    ASSERT_TRUE(save_tensors(Env::posix(), small, model(), threads, progress_).ok());
    EXPECT_TRUE(testing::read_file(path("out")) == testing::read_file(path("small"))) << count;
  }
}

TEST_F(SaveTensors, RefusesWhatNoReaderWouldAccept) {
  const auto bytes = std::span(table_).first(8);
  const TensorData fine = {"w", DType::kF32, {2}, bytes};
  TensorData small = fine, bad_name = fine, named_metadata = fine;
  small.shape = {3};
  bad_name.name = "\xff";
  named_metadata.name = "__metadata__";
  for (const bool compress : {false, true}) {
    EXPECT_EQ(save(job(compress), std::vector{fine, fine}).code(),
              SafetensorsError::kDuplicateTensor);
    for (const TensorData& tensor : {small, bad_name, named_metadata}) {
      EXPECT_FALSE(save(job(compress), std::vector{tensor}).ok()) << tensor.name;
    }
  }
  EXPECT_TRUE(dir_.names().empty());
}

TEST_F(SaveTensors, RefusesMetadataOfACompressedFileAndWhatIsNoText) {
  for (const auto& [metadata, message] : {std::pair(Metadata{{"winnow.compressed", "1"}}, "marks"),
                                          std::pair(Metadata{{"\xff", ""}}, "metadata: "),
                                          std::pair(Metadata{{"", "\xff"}}, "metadata: ")}) {
    SaveJob bad = job();
    bad.metadata = metadata;
    const Status status = save(bad, model());
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_TRUE(dir_.names().empty());
}

TEST_F(SaveTensors, AsksBeforeItReplacesAFile) {
  testing::write_file(path("out"), "precious");
  EXPECT_EQ(save(job(), model()).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(testing::read_file(path("out")), "precious");
}

// Cancels at some look.
class StoppingProgress final : public Progress {
 public:
  explicit StoppingProgress(int looks) : looks_(looks) {}
  bool cancelled() override { return looks_-- <= 0; }

 private:
  int looks_;
};

TEST_F(SaveTensors, LeavesNothingIfItIsInterrupted) {
  for (const bool compress : {false, true}) {
    for (int looks = 0;; ++looks) {
      StoppingProgress progress(looks);
      const Status status = save_tensors(Env::posix(), job(compress), model(), serial_, progress);
      if (status.ok()) break;
      EXPECT_EQ(status.code(), ErrorCode::kInterrupted);
      EXPECT_TRUE(dir_.names().empty());
      ASSERT_LT(looks, 10);
    }
    std::filesystem::remove(path("out"));
  }
}

TEST_F(SaveTensors, LeavesTheOldFileIfTheSystemFails) {
  for (const bool compress : {false, true}) {
    const auto save = [&](Env& env) {
      testing::write_file(path("out"), "precious");
      SaveJob overwrite = job(compress);
      overwrite.overwrite = true;
      return save_tensors(env, overwrite, model(), serial_, progress_);
    };
    testing::for_each_failing_call({.error = ENOSPC}, save, [&](const testing::FailedRun& run) {
      if (run.status.ok() || run.status.code() == ErrorCode::kNotDurable) return;
      EXPECT_EQ(run.status.code(), ErrorCode::kIoError) << run.status.message();
      EXPECT_EQ(testing::read_file(path("out")), "precious") << run.what;
    });
  }
}

}  // namespace
}  // namespace winnow
