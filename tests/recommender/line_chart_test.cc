#include "line_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace recommender {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pointwise;

LineChart chart() {
  return {.title = "Loss",
          .x_label = "step",
          .y_label = "nats",
          .series = {{"train", {{0, 1}, {10, 0}}}, {"test", {{0, 1}, {5, 0.5}}}}};
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

/// One element for each "<x", the same number of ends, and every quote closed.
void expect_balanced(const std::string& svg) {
  std::vector<std::string> open;
  for (size_t at = svg.find('<'); at != svg.npos; at = svg.find('<', at + 1)) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(end, svg.npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    EXPECT_EQ(count(tag, "\"") % 2, 0u) << tag;
    if (tag.front() == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(tag.substr(1), open.back());
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
}

TEST(AxisTicks, AreRoundAndCoverTheRange) {
  EXPECT_THAT(axis_ticks(0, 100), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(axis_ticks(3, 17), ElementsAre(0, 5, 10, 15, 20));
  EXPECT_THAT(axis_ticks(-1, 1), ElementsAre(-1, -0.5, 0, 0.5, 1));
  EXPECT_THAT(axis_ticks(0.68, 0.79), Pointwise(DoubleNear(1e-12), {0.65, 0.7, 0.75, 0.8}));
  EXPECT_THAT(axis_ticks(1e6, 3e6), ElementsAre(1e6, 1.5e6, 2e6, 2.5e6, 3e6));
}

TEST(AxisTicks, NeedTwoEndsInOrder) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THROW(axis_ticks(1, 1), std::invalid_argument);
  EXPECT_THROW(axis_ticks(2, 1), std::invalid_argument);
  EXPECT_THROW(axis_ticks(0, infinity), std::invalid_argument);
  EXPECT_THROW(axis_ticks(std::numeric_limits<double>::quiet_NaN(), 1), std::invalid_argument);
}

TEST(ToSvg, IsWellFormed) {
  const std::vector<LineChart> charts{chart(), chart(), chart()};
  expect_balanced(to_svg(charts, 2));
}

TEST(ToSvg, PutsPointsWhereTheAxesSay) {
  const std::vector<LineChart> charts{chart()};
  // The frame of a chart of 640 x 400 goes from x = 72 to 616 and from y = 64 to 344.
  EXPECT_THAT(to_svg(charts), HasSubstr("<path class=\"line\" d=\"M72 64L616 344\"/>"));
  EXPECT_THAT(to_svg(charts), HasSubstr("<path class=\"line\" d=\"M72 64L344 204\"/>"));
}

TEST(ToSvg, CutsTheAxisWhereItIsTold) {
  std::vector<LineChart> charts{chart()};
  charts[0].y_min = -1;
  charts[0].y_max = 1;
  EXPECT_THAT(to_svg(charts), HasSubstr("d=\"M72 64L616 204\""));
}

TEST(ToSvg, LaysChartsOutInRows) {
  const std::vector<LineChart> charts{chart(), chart(), chart()};
  const std::string svg = to_svg(charts, 2);
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 1280 800\""));
  EXPECT_THAT(svg, HasSubstr("<g transform=\"translate(640 0)\">"));
  EXPECT_THAT(svg, HasSubstr("<g transform=\"translate(0 400)\">"));
  EXPECT_EQ(count(svg, ">Loss</text>"), 3u);
}

TEST(ToSvg, ShowsEachSeriesInTheLegend) {
  const std::vector<LineChart> charts{chart()};
  const std::string svg = to_svg(charts);
  EXPECT_EQ(count(svg, ">train</text>"), 1u);
  EXPECT_EQ(count(svg, ">test</text>"), 1u);
  EXPECT_EQ(count(svg, "class=\"mark\""), 4u + 2u);
}

TEST(ToSvg, EscapesAllText) {
  std::vector<LineChart> charts{chart()};
  charts[0].title = charts[0].x_label = charts[0].y_label = charts[0].series[0].name =
      "<script>\"a\" & b</script>";
  const std::string svg = to_svg(charts);
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
  EXPECT_EQ(count(svg, "&lt;script&gt;&quot;a&quot; &amp; b&lt;/script&gt;"), 4u);
}

TEST(ToSvg, DrawsPointsThatAreAllTheSame) {
  for (const double y : {0.0, 2.0, -3.0}) {
    const std::vector<LineChart> charts{{.series = {{"one", {{1, y}}}}}};
    EXPECT_THAT(to_svg(charts), Not(HasSubstr("nan")));
  }
}

TEST(ToSvg, RefusesWhatCannotBeDrawn) {
  EXPECT_THROW(to_svg({}), std::invalid_argument);
  std::vector<LineChart> charts{chart()};
  EXPECT_THROW(to_svg(charts, 0), std::invalid_argument);
  charts[0].y_min = 2;
  EXPECT_THROW(to_svg(charts), std::invalid_argument);
  charts = {chart()};
  charts[0].series[1].points.clear();
  EXPECT_THROW(to_svg(charts), std::invalid_argument);
  charts = {chart()};
  charts[0].series[1].points[0].y = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(to_svg(charts), std::invalid_argument);
  charts = {chart()};
  charts[0].series.resize(7, charts[0].series[0]);
  EXPECT_THROW(to_svg(charts), std::invalid_argument);
  charts[0].series.clear();
  EXPECT_THROW(to_svg(charts), std::invalid_argument);
}

}  // namespace
}  // namespace recommender
