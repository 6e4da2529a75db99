#include "exit_code.h"

#include <gtest/gtest.h>

#include <string>

namespace winnow::cli {
namespace {

// The codes of one group in ErrorCode are those from `first` to `last`.
void expect_range(int first, int last, ExitCode expected) {
  for (int number = first; number <= last; ++number) {
    const auto code = static_cast<ErrorCode>(number);
    EXPECT_EQ(exit_code(code), expected) << number << " " << error_code_name(code);
  }
}

TEST(ExitCode, FollowsTheGroupsOfErrorCode) {
  EXPECT_EQ(exit_code(ErrorCode::kOk), 0);
  expect_range(1, 7, kExitUsage);
  expect_range(20, 20, kExitCheckFailed);
  expect_range(40, 46, kExitSystem);
  expect_range(60, 62, kExitBadInput);
  expect_range(100, 134, kExitBadInput);
}

// A code added at the end of a group shows here, so that its exit code is no accident.
TEST(ExitCode, KnowsTheEndsOfTheGroups) {
  EXPECT_EQ(ErrorCode::kLeftAlone, static_cast<ErrorCode>(7));
  EXPECT_EQ(ErrorCode::kInterrupted, static_cast<ErrorCode>(46));
  EXPECT_EQ(ErrorCode::kOtherRule, static_cast<ErrorCode>(62));
  for (const int past : {8, 21, 47, 63, 135}) {
    EXPECT_EQ(error_code_name(static_cast<ErrorCode>(past)),
              error_code_name(static_cast<ErrorCode>(9999)))
        << past;
  }
}

TEST(ExitCode, HasTheNumbersThatTheHelpPromises) {
  EXPECT_EQ(kExitCheckFailed, 1);
  EXPECT_EQ(kExitUsage, 2);
  EXPECT_EQ(kExitBadInput, 3);
  EXPECT_EQ(kExitSystem, 4);
}

}  // namespace
}  // namespace winnow::cli
