#include "results.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace recommender {
namespace {

std::vector<const Run*> runs_of(std::span<const Run> runs, const std::string& method,
                                double level) {
  std::vector<const Run*> found;
  for (const Run& run : runs) {
    if (run.method == method && run.level == level) {
      found.push_back(&run);
    }
  }
  return found;
}

std::string cell(const Summary& summary) {
  return summary.seeds == 0 ? "" : fixed(summary.auc, 4) + " ± " + fixed(summary.spread, 4);
}

}  // namespace

Summary summary_of(std::span<const Run> runs, const std::string& method, double level) {
  Summary summary;
  const std::vector<const Run*> found = runs_of(runs, method, level);
  if (found.empty()) {
    return summary;
  }
  summary.seeds = static_cast<int>(found.size());
  for (const Run* run : found) {
    summary.auc += run->metrics.auc / summary.seeds;
    summary.zeros += run->zeros / summary.seeds;
  }
  for (const Run* run : found) {
    summary.spread = std::max(summary.spread, std::abs(run->metrics.auc - summary.auc));
  }
  summary.table_bytes = found.front()->table_bytes;
  return summary;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string percent(double share) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", share * 100);
  return text;
}

std::string to_csv(std::span<const Run> runs) {
  std::string text = "method,level,seed,auc,accuracy,log_loss,zeros,table_bytes\n";
  for (const Run& run : runs) {
    text += run.method + "," + fixed(run.level, 2) + "," + std::to_string(run.seed) + "," +
            fixed(run.metrics.auc, 6) + "," + fixed(run.metrics.accuracy, 6) + "," +
            fixed(run.metrics.log_loss, 6) + "," + fixed(run.zeros, 6) + "," +
            std::to_string(run.table_bytes) + "\n";
  }
  return text;
}

std::string auc_table(std::span<const Run> runs, std::span<const std::string> methods,
                      std::span<const double> levels) {
  std::string head = "| zeros, % |", rule = "| ---: |";
  std::string dense = "| 0 |";
  for (const std::string& method : methods) {
    head += " " + method + " |";
    rule += " --- |";
    dense += " " + cell(summary_of(runs, kDense, 0)) + " |";
  }
  std::string text = head + "\n" + rule + "\n" + dense + "\n";
  for (const double level : levels) {
    text += "| " + percent(level) + " |";
    for (const std::string& method : methods) {
      text += " " + cell(summary_of(runs, method, level)) + " |";
    }
    text += "\n";
  }
  return text;
}

std::string size_table(std::span<const Run> runs, std::span<const std::string> methods,
                       double level) {
  std::string text =
      "| tables | test AUC | exact zeros, % | bytes |\n| --- | --- | ---: | ---: |\n";
  const auto add = [&](const std::string& method, double its_level) {
    const Summary summary = summary_of(runs, method, its_level);
    text += "| " + method + " | " + cell(summary) + " | " + fixed(summary.zeros * 100, 2) + " | " +
            std::to_string(summary.table_bytes) + " |\n";
  };
  add(kDense, 0);
  for (const std::string& method : methods) {
    add(method, level);
  }
  return text;
}

LineChart auc_chart(std::span<const Run> runs, std::span<const std::string> methods,
                    std::span<const double> levels) {
  LineChart chart{.title = "A recommender on MovieLens 100k, pruned",
                  .x_label = "zeros among the embeddings' values, %",
                  .y_label = "test AUC, mean of the seeds"};
  for (const std::string& method : methods) {
    Series series{method, {{0, summary_of(runs, kDense, 0).auc}}};
    for (const double level : levels) {
      const Summary summary = summary_of(runs, method, level);
      if (summary.seeds > 0) {
        series.points.push_back({level * 100, summary.auc});
      }
    }
    chart.series.push_back(series);
  }
  return chart;
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    throw std::runtime_error(path + " cannot be written");
  }
}

}  // namespace recommender
