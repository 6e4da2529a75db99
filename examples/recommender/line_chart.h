// Line charts as one self-contained SVG file: no script, no font, no other file. The charts are
// readable on light and dark pages, because they have a background and follow the reader's scheme,
// and in print, because series differ by marker as well as by colour. Thread-safety: pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace recommender {

struct Point {
  double x = 0;
  double y = 0;
};

/// One line through its points, in their order.
struct Series {
  std::string name;
  std::vector<Point> points;
};

struct LineChart {
  std::string title = {};
  std::string x_label = {};
  std::string y_label = {};
  std::vector<Series> series = {};
  /// Ends of the y axis. Unset: those of the points, widened to the next ticks.
  std::optional<double> y_min = std::nullopt;
  std::optional<double> y_max = std::nullopt;
};

/// Positions for the ticks of an axis: about five multiples of 1, 2 or 5 times a power of ten that
/// cover [low, high], in rising order.
/// std::invalid_argument unless low < high, both finite.
std::vector<double> axis_ticks(double low, double high);

/// The charts side by side, `columns` in a row. All text is escaped.
/// std::invalid_argument: no chart, columns < 1, a chart without points, more series than markers
/// (6), a coordinate that is not finite, y_min >= y_max.
std::string to_svg(std::span<const LineChart> charts, int columns = 1);

}  // namespace recommender
