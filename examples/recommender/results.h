// The results of the recommender's runs, as text and charts. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "line_chart.h"
#include "metrics.h"

namespace recommender {

/// The method of models that are not pruned; their level is 0.
inline constexpr const char* kDense = "dense";

/// One model, judged.
struct Run {
  std::string method = {};  ///< how it was pruned
  double level = 0;         ///< share of its tables' values to drop
  uint64_t seed = 0;
  Metrics metrics = {};
  double zeros = 0;         ///< share of its tables' values that are exactly zero
  int64_t table_bytes = 0;  ///< memory of its tables
};

/// Over the seeds.
struct Summary {
  double auc = 0;     ///< mean
  double spread = 0;  ///< largest deviation of a run from that mean
  double zeros = 0;   ///< mean
  int64_t table_bytes = 0;
  int seeds = 0;  ///< 0: there is no such run, and the other fields have no meaning
};
Summary summary_of(std::span<const Run> runs, const std::string& method, double level);

/// The middle value, or the upper of the two. Precondition: at least one value.
double median(std::vector<double> values);

/// "90" for 0.9.
std::string percent(double share);

/// `value` with this many digits after the point.
std::string fixed(double value, int digits);

/// One line a run, with a header. Precondition: names contain no comma.
std::string to_csv(std::span<const Run> runs);

/// Markdown: a line for each level, a column for each method, in each the mean AUC and its spread.
/// The first line is kDense's.
std::string auc_table(std::span<const Run> runs, std::span<const std::string> methods,
                      std::span<const double> levels);

/// Markdown: a line for each of `methods` at `level`, after one for kDense: mean AUC and its
/// spread, share of exact zeros, bytes of the tables.
std::string size_table(std::span<const Run> runs, std::span<const std::string> methods,
                       double level);

/// AUC against the level, a line for each method; all lines begin at kDense's point.
LineChart auc_chart(std::span<const Run> runs, std::span<const std::string> methods,
                    std::span<const double> levels);

/// Writes a file. Throws std::runtime_error, which names the file, if that fails.
void write_text(const std::string& path, const std::string& text);

}  // namespace recommender
