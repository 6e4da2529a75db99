#include "units.h"

#include <gtest/gtest.h>

namespace winnow::cli {
namespace {

TEST(Units, BytesHaveThreeDigitsAndADecimalUnit) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(999.6), "1.00 kB");
  EXPECT_EQ(bytes_text(1000), "1.00 kB");
  EXPECT_EQ(bytes_text(9'994), "9.99 kB");
  EXPECT_EQ(bytes_text(9'996), "10.0 kB");
  EXPECT_EQ(bytes_text(99'960), "100 kB");
  EXPECT_EQ(bytes_text(90'900'000), "90.9 MB");
  EXPECT_EQ(bytes_text(999'600'000), "1.00 GB");
  EXPECT_EQ(bytes_text(1.8e19), "18.0 EB");
}

TEST(Units, BytesAreReadWithTheirUnit) {
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("512"), 512u);
  EXPECT_EQ(parse_bytes("512B"), 512u);
  EXPECT_EQ(parse_bytes("512M"), uint64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1GiB"), uint64_t{1} << 30);
  EXPECT_EQ(parse_bytes("2g"), uint64_t{2} << 30);
  EXPECT_EQ(parse_bytes("3kB"), 3000u);
  EXPECT_EQ(parse_bytes("15EiB"), uint64_t{15} << 60);
  EXPECT_EQ(parse_bytes("18EB"), 18'000'000'000'000'000'000u);
  for (const char* text : {"", "M", "-1", "+1", " 1", "1 M", "1.5G", "1iB", "1X", "1MM", "1Mi",
                           "16EiB", "19EB", "99999999999999999999"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(Units, CountsHaveACommaBeforeEachThreeDigits) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(22'713'216), "22,713,216");
  EXPECT_EQ(count_text(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(Units, AShareOfNothingIsNone) {
  EXPECT_EQ(share_text(4, 5), "80.00 %");
  EXPECT_EQ(share_text(1, 3), "33.33 %");
  EXPECT_EQ(share_text(0, 0), "-");
}

TEST(Units, StagesThatTookNoTimeAreLeftOut) {
  EXPECT_EQ(stages_text({}), "");
  StageSeconds seconds;
  seconds.read = 0.061;
  seconds.sync = 1.5;
  seconds.total = 2;
  EXPECT_EQ(stages_text(seconds), "read 0.06 s, sync 1.50 s");
}

TEST(Units, TheTimeIsALineAndTheStagesAnother) {
  StageSeconds seconds;
  seconds.read = 0.25;
  seconds.total = 0.5;
  EXPECT_EQ(time_text(seconds, 2'000'000, 30'000'000, false),
            "time     0.50 s, 4.00 MB/s, peak memory 30.0 MB\n");
  EXPECT_EQ(time_text(seconds, 2'000'000, 30'000'000, true),
            "time     0.50 s, 4.00 MB/s, peak memory 30.0 MB\nstages   read 0.25 s\n");
}

TEST(Units, ShapesHaveACrossBetweenDimensions) {
  EXPECT_EQ(shape_text({}), "scalar");
  EXPECT_EQ(shape_text({7}), "7");
  EXPECT_EQ(shape_text({30522, 0, 384}), "30522 x 0 x 384");
}

}  // namespace
}  // namespace winnow::cli
