#include "line_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <stdexcept>

namespace recommender {
namespace {

// Sizes in SVG units, which browsers show as pixels.
constexpr double kWidth = 640, kHeight = 400;  // of one chart
constexpr double kLeft = 72, kRight = 24, kTop = 64, kBottom = 56;
constexpr size_t kMaxSeries = 6;

// Okabe and Ito's palette, which colour-blind readers can tell apart too, slightly darker on light
// backgrounds and slightly lighter on dark ones.
constexpr const char* kStyle = R"(<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .ground { fill: #ffffff }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .axis { stroke: #57606a; stroke-width: 1 }
  .line { fill: none; stroke: currentColor; stroke-width: 2 }
  .mark { fill: currentColor }
  .s0 { color: #0063a3 } .s1 { color: #b84c00 } .s2 { color: #00785a }
  .s3 { color: #9c4a7c } .s4 { color: #7a6200 } .s5 { color: #57606a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #0d1117 }
    .grid { stroke: #30363d }
    .axis { stroke: #8b949e }
    .s0 { color: #56b4e9 } .s1 { color: #f0883e } .s2 { color: #2fc49a }
    .s3 { color: #e08fc0 } .s4 { color: #e3c54a } .s5 { color: #b1bac4 }
  }
</style>
)";

struct Range {
  double low = 0;
  double high = 0;
};

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

/// Up to six significant digits, in the shortest form.
std::string number(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.6g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text.data();
}

/// A coordinate, rounded to a hundredth.
std::string coordinate(double value) { return number(std::round(value * 100) / 100); }

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const std::string& more = "") {
  return "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" text-anchor=\"" + anchor +
         "\"" + more + ">" + escaped(text) + "</text>\n";
}

std::string line_between(Point from, Point to, const char* style) {
  return std::string("<line class=\"") + style + "\" x1=\"" + coordinate(from.x) + "\" y1=\"" +
         coordinate(from.y) + "\" x2=\"" + coordinate(to.x) + "\" y2=\"" + coordinate(to.y) +
         "\"/>\n";
}

/// One outline a series, around (0, 0).
std::string marker_at(Point at, size_t series) {
  static constexpr std::array<const char*, kMaxSeries> kOutlines = {
      "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",                    // disc
      "M-4-4h8v8h-8z",                                        // square
      "M0-5l5 9h-10z",                                        // triangle
      "M0-5l5 5-5 5-5-5z",                                    // diamond
      "M0 5l5-9h-10z",                                        // triangle on its tip
      "M-5-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z",  // cross
  };
  return "<path class=\"mark\" transform=\"translate(" + coordinate(at.x) + " " + coordinate(at.y) +
         ")\" d=\"" + kOutlines[series] + "\"/>\n";
}

void check(const LineChart& chart) {
  if (chart.series.empty() || chart.series.size() > kMaxSeries) {
    throw std::invalid_argument("a chart has from 1 to 6 series: " + chart.title);
  }
  for (const Series& series : chart.series) {
    if (series.points.empty()) {
      throw std::invalid_argument("a series without points: " + series.name);
    }
    for (const Point& point : series.points) {
      if (!std::isfinite(point.x) || !std::isfinite(point.y)) {
        throw std::invalid_argument("a coordinate that is not finite: " + series.name);
      }
    }
  }
}

/// From the smallest to the largest coordinate; widened if all are equal.
Range range_of(const LineChart& chart, double Point::*coordinate) {
  Range range{chart.series[0].points[0].*coordinate, chart.series[0].points[0].*coordinate};
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      range.low = std::min(range.low, point.*coordinate);
      range.high = std::max(range.high, point.*coordinate);
    }
  }
  if (range.low == range.high) {
    const double half = range.low == 0 ? 0.5 : std::abs(range.low) / 2;
    return {range.low - half, range.high + half};
  }
  return range;
}

Range y_range(const LineChart& chart) {
  const Range points = range_of(chart, &Point::y);
  const std::vector<double> ticks = axis_ticks(points.low, points.high);
  const Range range{chart.y_min.value_or(ticks.front()), chart.y_max.value_or(ticks.back())};
  if (!(range.low < range.high)) {
    throw std::invalid_argument("y_min is not below y_max: " + chart.title);
  }
  return range;
}

/// Draws one chart whose upper left corner is (0, 0).
class Drawing {
 public:
  explicit Drawing(const LineChart& chart)
      : chart_(chart), x_(range_of(chart, &Point::x)), y_(y_range(chart)) {}

  std::string text() const { return labels() + grid() + series() + legend(); }

 private:
  Point place(Point point) const {
    return {
        kLeft + (point.x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight),
        kHeight - kBottom - (point.y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom)};
  }

  std::string labels() const {
    const double middle = (kTop + kHeight - kBottom) / 2;
    const std::string turned = " transform=\"rotate(-90 18 " + coordinate(middle) + ")\"";
    return text_at(kLeft, 24, "start", chart_.title, " class=\"title\"") +
           text_at((kLeft + kWidth - kRight) / 2, kHeight - 12, "middle", chart_.x_label) +
           text_at(18, middle, "middle", chart_.y_label, turned);
  }

  std::string grid() const {
    std::string text;
    for (const double y : axis_ticks(y_.low, y_.high)) {
      if (y >= y_.low && y <= y_.high) {
        const Point left = place({x_.low, y});
        text += line_between(left, place({x_.high, y}), "grid");
        text += text_at(left.x - 8, left.y + 4, "end", number(y));
      }
    }
    for (const double x : axis_ticks(x_.low, x_.high)) {
      if (x >= x_.low && x <= x_.high) {
        const Point foot = place({x, y_.low});
        text += line_between(foot, {foot.x, foot.y + 5}, "axis");
        text += text_at(foot.x, foot.y + 20, "middle", number(x));
      }
    }
    return text + line_between(place({x_.low, y_.low}), place({x_.high, y_.low}), "axis");
  }

  std::string series() const {
    std::string text;
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      std::string line, markers;
      for (const Point& point : chart_.series[i].points) {
        const Point at = place(point);
        line += (line.empty() ? "M" : "L") + coordinate(at.x) + " " + coordinate(at.y);
        markers += marker_at(at, i);
      }
      text += "<g class=\"s" + std::to_string(i) + "\">\n<path class=\"line\" d=\"" + line +
              "\"/>\n" + markers + "</g>\n";
    }
    return text;
  }

  std::string legend() const {
    const auto entries = static_cast<double>(std::max<size_t>(chart_.series.size(), 3));
    std::string text;
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      const double left = kLeft + static_cast<double>(i) * (kWidth - kLeft - kRight) / entries;
      text += "<g class=\"s" + std::to_string(i) + "\">\n" + marker_at({left + 6, 44}, i) +
              "</g>\n" + text_at(left + 18, 48, "start", chart_.series[i].name);
    }
    return text;
  }

  const LineChart& chart_;
  Range x_, y_;
};

}  // namespace

std::vector<double> axis_ticks(double low, double high) {
  if (!std::isfinite(low) || !std::isfinite(high) || !(low < high)) {
    throw std::invalid_argument("an axis needs two ends, the lower one first");
  }
  constexpr double kIntervals = 5;
  const double rough = (high - low) / kIntervals;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    step = rough <= factor * power ? factor * power : step;
  }
  // A multiple that differs from an end only by the rounding of the division counts as that end.
  constexpr double kSlack = 1e-9;
  std::vector<double> ticks;
  for (double i = std::floor(low / step + kSlack); i <= std::ceil(high / step - kSlack); ++i) {
    ticks.push_back(i * step);
  }
  return ticks;
}

std::string to_svg(std::span<const LineChart> charts, int columns) {
  if (charts.empty() || columns < 1) {
    throw std::invalid_argument("a picture needs a chart and a column");
  }
  const auto count = static_cast<int>(charts.size());
  const std::string width = coordinate(kWidth * std::min(columns, count));
  const std::string height = coordinate(kHeight * ((count + columns - 1) / columns));
  std::string text = "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 " +
                     width + " " + height + "\" width=\"" + width + "\" height=\"" + height +
                     "\">\n" + kStyle + "<rect class=\"ground\" width=\"" + width + "\" height=\"" +
                     height + "\"/>\n";
  for (int i = 0; i < count; ++i) {
    check(charts[static_cast<size_t>(i)]);
    text += "<g transform=\"translate(" + coordinate(kWidth * (i % columns)) + " " +
            coordinate(kHeight * (i / columns)) + ")\">\n" +
            Drawing(charts[static_cast<size_t>(i)]).text() + "</g>\n";
  }
  return text + "</svg>\n";
}

}  // namespace recommender
