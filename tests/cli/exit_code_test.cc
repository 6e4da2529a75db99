#include "exit_code.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace winnow::cli {
namespace {

void expect_range(int first, int last, ExitCode expected) {
  for (int number = first; number <= last; ++number) {
    EXPECT_EQ(exit_code({static_cast<uint16_t>(number), "Any"}), expected) << number;
  }
}

TEST(ExitCode, FollowsTheRangesOfErrorCode) {
  EXPECT_EQ(exit_code(ErrorCode::kOk), 0);
  expect_range(1, 19, kExitUsage);
  expect_range(20, 39, kExitCheckFailed);
  expect_range(40, 59, kExitSystem);
  expect_range(60, 300, kExitBadInput);
}

TEST(ExitCode, GivesEachKindOfErrorItsOwn) {
  EXPECT_EQ(exit_code(ErrorCode::kLeftAlone), kExitUsage);
  EXPECT_EQ(exit_code(ErrorCode::kCheckFailed), kExitCheckFailed);
  EXPECT_EQ(exit_code(ErrorCode::kInterrupted), kExitSystem);
  EXPECT_EQ(exit_code(ErrorCode::kNanValue), kExitBadInput);
  EXPECT_EQ(exit_code(ErrorCode::kShapeOverflow), kExitBadInput);
}

TEST(ExitCode, HasTheNumbersThatTheHelpPromises) {
  EXPECT_EQ(kExitCheckFailed, 1);
  EXPECT_EQ(kExitUsage, 2);
  EXPECT_EQ(kExitBadInput, 3);
  EXPECT_EQ(kExitSystem, 4);
}

}  // namespace
}  // namespace winnow::cli
