// Runs the recommender's programs as a user does, on a data set that is made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tiny_movielens.h"

namespace recommender {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Dense; three ways to prune at four levels; four ways to quantize, not pruned and at four levels.
constexpr size_t kRunsOfOneSeed = 1 + 3 * 4 + 4 * 5;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() { write_tiny_movielens(folder_ / "data", 20, 20); }
  ~ProgramTest() override { std::filesystem::remove_all(folder_); }

  /// Runs `program` and returns its exit code; what it printed is in out() and err().
  int run(const std::string& program, const std::string& arguments) const {
    const std::string command =
        "'" + program + "' " + arguments + " >'" + path("out") + "' 2>'" + path("err") + "'";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string out() const { return text_of(folder_ / "out"); }
  std::string err() const { return text_of(folder_ / "err"); }

  std::string usual_arguments() const {
    return "--data '" + path("data") + "' --seeds 2 --epochs 1 --csv '" + path("runs.csv") +
           "' --svg '" + path("chart.svg") + "'";
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("winnow-program-" + std::to_string(::getpid()));
};

TEST_F(ProgramTest, RecommenderWritesATableFiguresAndAPicture) {
  ASSERT_EQ(run(RECOMMENDER, usual_arguments()), 0) << err();
  EXPECT_THAT(out(), HasSubstr("| 95 | "));
  const std::string csv = text_of(path("runs.csv"));
  EXPECT_THAT(csv, StartsWith("method,level,seed,auc,"));
  EXPECT_THAT(csv, HasSubstr("\ndense,0.00,1,"));
  EXPECT_EQ(lines_of(csv), 1u + 2u * kRunsOfOneSeed);
  EXPECT_THAT(text_of(path("chart.svg")), StartsWith("<svg "));
}

TEST_F(ProgramTest, RecommenderGivesTheSameFiguresAgain) {
  ASSERT_EQ(run(RECOMMENDER, usual_arguments()), 0) << err();
  const std::string csv = text_of(path("runs.csv"));
  ASSERT_EQ(run(RECOMMENDER, usual_arguments()), 0) << err();
  EXPECT_EQ(text_of(path("runs.csv")), csv);
}

TEST_F(ProgramTest, StudyMeasuresTheWholeGrid) {
  ASSERT_EQ(run(RECOMMENDER_STUDY, usual_arguments()), 0) << err();
  EXPECT_THAT(out(), HasSubstr("| L2 1x4 | 100 | "));
  EXPECT_EQ(lines_of(text_of(path("runs.csv"))), 1u + 3u * 20u);
  EXPECT_THAT(text_of(path("chart.svg")), StartsWith("<svg "));
}

TEST_F(ProgramTest, MissingDataSayHowTheyAreFetched) {
  EXPECT_EQ(run(RECOMMENDER, "--data '" + path("nowhere") + "'"), 1);
  EXPECT_THAT(err(), HasSubstr("ml-100k.user is not there: ./dev demo-train fetches it\n"));
}

TEST_F(ProgramTest, WrongArgumentsAreRefused) {
  EXPECT_EQ(run(RECOMMENDER, ""), 2);
  EXPECT_EQ(run(RECOMMENDER, "--data x --seeds 0"), 2);
  EXPECT_EQ(run(RECOMMENDER, "--data x --unknown 1"), 2);
  EXPECT_EQ(run(RECOMMENDER, "--help"), 0);
  EXPECT_THAT(out(), HasSubstr("--data"));
}

}  // namespace
}  // namespace recommender
