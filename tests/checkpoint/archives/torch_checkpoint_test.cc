// Torch archives, made by hand, as checkpoints: which tensors they have, and every failing call of
// a run that prunes one. Files of torch.save: tests/python/test_cli_torch.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "checkpoint/test_file.h"
#include "io/fault_env.h"
#include "support/torch_image.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}";
  for (const auto& [key, value] : items) out += pkl::text(key) + value + "s";
  return out;
}

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 1013 + 1);
  return values;
}

class TorchCheckpoint : public ::testing::Test {
 protected:
  // An archive of that value, in which storage 0 has `numel` floats.
  Result<std::unique_ptr<CheckpointReader>> open(const std::string& value, size_t numel = 24) {
    write_file(dir_.path("in.pt"),
               archive_image(pkl::program(value), {bytes_of(numbers(numel))}).build());
    return open_checkpoint(Env::posix(), dir_.path("in.pt"));
  }
  static std::string view(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                          int64_t offset = 0, int64_t numel = 24) {
    return pkl::tensor(pkl::storage("FloatStorage", numel), shape, strides, offset);
  }
  static std::vector<std::string> names(const CheckpointReader& file) {
    std::vector<std::string> out;
    for (const TensorInfo& tensor : file.tensors()) out.push_back(tensor.name);
    return out;
  }
  Status prune(Env& env, const std::string& output) {
    PruneJob job{.input = dir_.path("in.pt"),
                 .output = dir_.path(output),
                 .settings = {},
                 .overwrite = true};
    SerialFor serial;
    Progress progress;
    return prune_file(env, job, serial, progress).status();
  }

  TempDir dir_;
};

TEST_F(TorchCheckpoint, NamesTensorsByTheirPaths) {
  const std::string list = "](" + view({3}, {1}) + "N" + dict({{"x", view({3}, {1}, 3)}}) + "e";
  const auto file = open("}" + pkl::text("a") + list + "sK\5" + view({3}, {1}, 6) + "sN" +
                         view({3}, {1}, 9) + "s\x88" + view({3}, {1}, 12) + "s");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(names(**file), ElementsAre("a.0", "a.2.x", "5", "None", "True"));
  EXPECT_EQ((*file)->plain_values(), 1u);
}

TEST_F(TorchCheckpoint, RefusesTwoTensorsOfOneName) {
  const auto file = open(dict({{"a.b", view({2}, {1})}, {"a", dict({{"b", view({2}, {1}, 2)}})}}));
  EXPECT_EQ(file.status().code(), TorchArchiveError::kTensorName);
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("in.pt: two tensors"));
  EXPECT_EQ(open(dict({{std::string(65'537, 'x'), view({2}, {1})}})).status().code(),
            TorchArchiveError::kTensorName);
}

TEST_F(TorchCheckpoint, TakesViewsOfOnePlaceForOneTensor) {
  const auto file = open(dict({{"t", view({6, 4}, {1, 6})},
                               {"w", view({4, 6}, {6, 1})},
                               {"same", view({4, 6}, {6, 1})},
                               {"row", view({6}, {1}, 6)},
                               {"one", view({1, 4, 6}, {99, 6, 1})}}));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(names(**file), ElementsAre("w"));
  EXPECT_THAT((*file)->metadata(), ElementsAre(std::pair("t", "w"), std::pair("same", "w"),
                                               std::pair("row", "w"), std::pair("one", "w")));
  EXPECT_EQ((*file)->fixed()[0], std::nullopt);
}

TEST_F(TorchCheckpoint, TakesViewsWithoutACommonValueForTensors) {
  const auto file =
      open(dict({{"right", view({4, 2}, {6, 1}, 4)}, {"left", view({4, 4}, {6, 1})}}));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(names(**file), ElementsAre("right", "left"));
  EXPECT_THAT((*file)->fixed(), ElementsAre(std::nullopt, std::nullopt));
  // Data come in the order of the storage.
  EXPECT_EQ((*file)->tensors()[1].begin, 0u);
  EXPECT_EQ((*file)->tensors()[0].begin, (*file)->tensors()[1].end);
  std::vector<float> values(8);
  ASSERT_TRUE((*file)->read(0, 0, std::as_writable_bytes(std::span(values))).ok());
  EXPECT_THAT(values, ElementsAre(5, 6, 11, 12, 17, 18, 23, 24));
}

TEST_F(TorchCheckpoint, FixesWhatSharesOrRepeatsValues) {
  const auto reason = [&](const std::string& value) {
    const auto file = open(value);
    EXPECT_TRUE(file.ok()) << file.status().message();
    return file.ok() ? (*file)->fixed()[0] : std::nullopt;
  };
  EXPECT_EQ(reason(dict({{"a", view({3, 4}, {4, 1})}, {"b", view({3, 4}, {4, 1}, 8)}})),
            FixedReason::kOverlapping);
  EXPECT_EQ(reason(dict({{"a", view({4, 4}, {6, 1})}, {"b", view({4, 3}, {6, 1}, 3)}})),
            FixedReason::kOverlapping);
  EXPECT_EQ(reason(view({3, 4}, {0, 1})), FixedReason::kExpanded);
  EXPECT_EQ(reason(view({3, 4}, {2, 1})), FixedReason::kExpanded);
  EXPECT_EQ(reason(dict({{"optimizer", "]" + view({3, 4}, {4, 1}) + "a"}})),
            FixedReason::kOptimizer);
  EXPECT_EQ(reason(dict({{"w", view({3, 4}, {4, 1})},
                         {"o", pkl::call(pkl::global("m", "C"), {view({2}, {1}, 20)})}})),
            FixedReason::kOpaqueUse);
}

TEST_F(TorchCheckpoint, HasNoTensorOfEndlessValues) {
  const auto file = open(dict({{"w", view({1 << 30, 1 << 20, 4}, {0, 0, 1})}}));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(names(**file), ElementsAre());
  ASSERT_EQ((*file)->opaque_values().size(), 1u);
  EXPECT_EQ((*file)->opaque_values()[0].path, "w");
}

TEST_F(TorchCheckpoint, ReadsNoRangeOutsideOfATensor) {
  const auto file = open(dict({{"w", view({2}, {1})}}));
  std::vector<std::byte> out(5);
  EXPECT_EQ((*file)->read(0, 4, out).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ((*file)->read(0, 9, {}).code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE((*file)->read(0, 3, out).ok());
}

TEST_F(TorchCheckpoint, EveryFailingCallLeavesTheOldFiles) {
  const int64_t rows = 700, columns = 1000, size = rows * columns;
  // A tensor that is copied in pieces, and one that is not contiguous.
  ASSERT_TRUE(open(dict({{"w", view({rows / 2, columns}, {columns, 1}, 0, size)},
                         {"t", view({columns, rows / 2}, {1, columns}, size / 2, size)}}),
                   size)
                  .ok());
  const std::string input = read_file(dir_.path("in.pt"));
  for (const std::string output : {"out.pt", "in.pt"}) {
    if (output == "out.pt") write_file(dir_.path(output), "precious");
    const std::string before = read_file(dir_.path(output));
    const auto names = dir_.names();
    int failures = 0;
    const auto check = [&](const FailedRun& run) {
      if (run.status.code() == ErrorCode::kNotDurable || run.status.ok()) {
        write_file(dir_.path(output), before);
        return;
      }
      ++failures;
      if (run.call == "remove") return;
      EXPECT_EQ(dir_.names(), names) << run.what;
      ASSERT_EQ(read_file(dir_.path("in.pt")), input) << run.what;
      ASSERT_EQ(read_file(dir_.path(output)), before) << run.what;
    };
    for_each_failing_call(
        {.error = EIO}, [&](Env& env) { return prune(env, output); }, check);
    EXPECT_GT(failures, 20);
    write_file(dir_.path("in.pt"), input);
  }
}

}  // namespace
}  // namespace winnow
