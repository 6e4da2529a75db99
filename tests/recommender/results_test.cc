#include "results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "deflate.h"

namespace recommender {
namespace {

const std::array<std::string, 2> kMethods = {"after", "during"};
const std::array<double, 2> kLevels = {0.5, 0.9};

Run run(const std::string& method, double level, uint64_t seed, double auc) {
  return {.method = method,
          .level = level,
          .seed = seed,
          .metrics = {.auc = auc, .accuracy = 0.7, .log_loss = 0.5},
          .zeros = level,
          .table_bytes = 400};
}

std::vector<Run> runs() {
  return {run(kDense, 0, 0, 0.8), run(kDense, 0, 1, 0.79), run("after", 0.5, 0, 0.75),
          run("after", 0.5, 1, 0.7), run("during", 0.9, 0, 0.72)};
}

TEST(SummaryOf, IsMeanAndGreatestDistance) {
  const Summary summary = summary_of(runs(), "after", 0.5);
  EXPECT_EQ(summary.seeds, 2);
  EXPECT_DOUBLE_EQ(summary.auc, 0.725);
  EXPECT_NEAR(summary.spread, 0.025, 1e-12);
  EXPECT_DOUBLE_EQ(summary.zeros, 0.5);
  EXPECT_EQ(summary.table_bytes, 400);
  EXPECT_EQ(summary_of(runs(), "after", 0.9).seeds, 0);
}

TEST(AucTable, HasALineForEachLevel) {
  EXPECT_EQ(auc_table(runs(), kMethods, kLevels),
            "| zeros, % | after | during |\n"
            "| ---: | --- | --- |\n"
            "| 0 | 0.7950 ± 0.0050 | 0.7950 ± 0.0050 |\n"
            "| 50 | 0.7250 ± 0.0250 |  |\n"
            "| 90 |  | 0.7200 ± 0.0000 |\n");
}

TEST(SizeTable, ComparesMethodsWithTheDenseModel) {
  EXPECT_EQ(size_table(runs(), std::span(kMethods).first(1), 0.5),
            "| tables | test AUC | exact zeros, % | bytes |\n"
            "| --- | --- | ---: | ---: |\n"
            "| dense | 0.7950 ± 0.0050 | 0.00 | 400 |\n"
            "| after | 0.7250 ± 0.0250 | 50.00 | 400 |\n");
}

TEST(AucChart, BeginsAtTheDenseModel) {
  const LineChart chart = auc_chart(runs(), kMethods, kLevels);
  ASSERT_EQ(chart.series.size(), 2u);
  ASSERT_EQ(chart.series[0].points.size(), 2u);
  EXPECT_EQ(chart.series[0].points[0].x, 0);
  EXPECT_DOUBLE_EQ(chart.series[0].points[0].y, 0.795);
  EXPECT_EQ(chart.series[0].points[1].x, 50);
  EXPECT_EQ(chart.series[1].points[1].x, 90);
}

TEST(ToCsv, HasALineForEachRun) {
  const std::vector one{run("after", 0.5, 1, 0.7)};
  EXPECT_EQ(to_csv(one),
            "method,level,seed,auc,accuracy,log_loss,zeros,table_bytes\n"
            "after,0.50,1,0.700000,0.700000,0.500000,0.500000,400\n");
}

TEST(Median, IsTheMiddleValue) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 9}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 3);
}

TEST(Numbers, AreAsShortAsTheyAreExact) {
  EXPECT_EQ(percent(0.9), "90");
  EXPECT_EQ(percent(0.99), "99");
  EXPECT_EQ(fixed(0.125, 2), "0.12");
}

TEST(WriteText, NamesAFileThatCannotBeWritten) {
  try {
    write_text("/no/such/folder/file", "x");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "/no/such/folder/file cannot be written");
  }
}

TEST(FileSizeTest, CountsBytesAndTheirDeflatedForm) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("winnow-deflate-" + std::to_string(::getpid()));
  write_text(path, std::string(100'000, 'a'));
  const FileSize size = file_size(path);
  EXPECT_EQ(size.bytes, 100'000);
  EXPECT_GT(size.deflated_bytes, 10);
  EXPECT_LT(size.deflated_bytes, 1000);
  std::filesystem::remove(path);
  EXPECT_THROW(file_size(path), std::runtime_error);
}

}  // namespace
}  // namespace recommender
