// The loops around read(2) and write(2), against calls that answer all they may.
#include "io/file/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <vector>

namespace winnow::io {
namespace {

using ::testing::ElementsAre;

// Answers one call after the other from a list; -E stands for the error E.
struct Script {
  std::vector<int> answers;
  std::vector<size_t> offsets = {};

  ssize_t operator()(size_t done, size_t) {
    offsets.push_back(done);
    const int answer = answers.at(offsets.size() - 1);
    if (answer >= 0) return answer;
    errno = -answer;
    return -1;
  }
};

TEST(TransferFully, ContinuesShortAnswers) {
  Script script{{3, 1, 6}};
  const Transfer result = transfer_fully(10, [&](size_t d, size_t n) { return script(d, n); });
  EXPECT_EQ(result.bytes, 10u);
  EXPECT_EQ(result.error, 0);
  EXPECT_THAT(script.offsets, ElementsAre(0, 3, 4));
}

TEST(TransferFully, RepeatsInterruptedCalls) {
  Script script{{-EINTR, 4, -EINTR, -EINTR, 6}};
  const Transfer result = transfer_fully(10, [&](size_t d, size_t n) { return script(d, n); });
  EXPECT_EQ(result.bytes, 10u);
  EXPECT_EQ(result.error, 0);
  EXPECT_THAT(script.offsets, ElementsAre(0, 0, 4, 4, 4));
}

TEST(TransferFully, StopsAtAnError) {
  Script script{{4, -ENOSPC}};
  const Transfer result = transfer_fully(10, [&](size_t d, size_t n) { return script(d, n); });
  EXPECT_EQ(result.bytes, 4u);
  EXPECT_EQ(result.error, ENOSPC);
}

TEST(TransferFully, StopsAtTheEnd) {
  Script script{{4, 0}};
  const Transfer result = transfer_fully(10, [&](size_t d, size_t n) { return script(d, n); });
  EXPECT_EQ(result.bytes, 4u);
  EXPECT_EQ(result.error, 0);
}

TEST(TransferFully, AsksForNoMoreThanTheSystemMovesAtOnce) {
  std::vector<size_t> counts;
  const auto record = [&](size_t, size_t count) {
    counts.push_back(count);
    return static_cast<ssize_t>(count);
  };
  EXPECT_EQ(transfer_fully(2 * kMaxTransfer + 5, record).bytes, 2 * kMaxTransfer + 5);
  EXPECT_THAT(counts, ElementsAre(kMaxTransfer, kMaxTransfer, 5));
  EXPECT_EQ(transfer_fully(0, record).bytes, 0u);
  EXPECT_EQ(counts.size(), 3u);
}

TEST(CallUninterrupted, RepeatsUntilDoneOrFailed) {
  Script done{{-EINTR, -EINTR, 0}};
  EXPECT_EQ(call_uninterrupted([&] { return done(0, 0); }), 0);
  Script failed{{-EINTR, -EIO}};
  EXPECT_EQ(call_uninterrupted([&] { return failed(0, 0); }), EIO);
}

}  // namespace
}  // namespace winnow::io
