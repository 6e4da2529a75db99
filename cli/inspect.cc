#include <algorithm>
#include <cstdio>
#include <set>
#include <string_view>

#include "base/status_macros.h"
#include "commands.h"
#include "console.h"
#include "json_report.h"
#include "progress_bar.h"
#include "settings_flags.h"
#include "table.h"
#include "threads/tbb_parallel_for.h"
#include "units.h"
#include "winnow/io/escape_name.h"

namespace winnow::cli {
namespace {

using Align = Table::Align;

// Share of zeros; tensors whose values were not looked at come last.
double sparsity(const InspectedTensor& entry) {
  if (!entry.stats || entry.tensor.numel() == 0) return -1;
  return static_cast<double>(entry.stats->zeros) / static_cast<double>(entry.tensor.numel());
}

void sort_tensors(std::vector<InspectedTensor>& tensors, const std::string& order) {
  // Stable: equal ones stay in the file's order.
  const auto sort = [&](auto less) { std::stable_sort(tensors.begin(), tensors.end(), less); };
  if (order == "size") {
    sort([](const auto& a, const auto& b) { return a.tensor.bytes() > b.tensor.bytes(); });
  } else if (order == "name") {
    sort([](const auto& a, const auto& b) { return a.tensor.name < b.tensor.name; });
  } else if (order == "sparsity") {
    sort([](const auto& a, const auto& b) { return sparsity(a) > sparsity(b); });
  }
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string tensor_table(const Inspection& inspection, bool stats) {
  std::vector<Table::Column> columns = {{"tensor", Align::kLeft},
                                        {"dtype", Align::kLeft},
                                        {"shape", Align::kLeft},
                                        {"values", Align::kRight},
                                        {"bytes", Align::kRight}};
  if (inspection.is_compressed) {
    columns.push_back({"stored", Align::kRight});
    columns.push_back({"share", Align::kRight});
    columns.push_back({"encoding", Align::kLeft});
  }
  if (stats) {
    for (const char* title : {"zeros", "min", "max", "mean |x|", "NaN", "inf"}) {
      columns.push_back({title, Align::kRight});
    }
  }
  Table table(std::move(columns));
  for (const InspectedTensor& entry : inspection.tensors) {
    const TensorInfo& tensor = entry.tensor;
    std::vector<std::string> row = {escape_name(tensor.name), std::string(dtype_name(tensor.dtype)),
                                    shape_text(tensor.shape), count_text(tensor.numel()),
                                    bytes_text(static_cast<double>(tensor.bytes()))};
    if (inspection.is_compressed) {
      row.push_back(bytes_text(static_cast<double>(entry.stored.bytes)));
      row.push_back(share_text(entry.stored.bytes, tensor.bytes()));
      row.push_back(entry.stored.encoding.empty() ? "as it is" : entry.stored.encoding);
    }
    if (entry.stats) {
      const ValueStats& figures = *entry.stats;
      for (std::string& cell : std::vector<std::string>{
               share_text(figures.zeros, tensor.numel()), number_text(figures.min),
               number_text(figures.max), number_text(figures.mean_abs), count_text(figures.nans),
               count_text(figures.infinities)}) {
        row.push_back(std::move(cell));
      }
    }
    table.add(std::move(row));
  }
  return table.text();
}

std::string dtype_table(const Inspection& inspection) {
  Table table({{"dtype", Align::kLeft},
               {"tensors", Align::kRight},
               {"values", Align::kRight},
               {"bytes", Align::kRight}});
  for (const DTypeTotal& total : inspection.dtypes) {
    table.add({std::string(dtype_name(total.dtype)), count_text(total.tensors),
               count_text(total.values), bytes_text(static_cast<double>(total.bytes))});
  }
  return table.text();
}

// The metadata; entries that are aliases are put in words.
std::string metadata_text(const Inspection& inspection) {
  std::set<std::string_view> aliases;
  std::string alias_lines;
  for (const InspectedTensor& entry : inspection.tensors) {
    for (const std::string& alias : entry.aliases) {
      aliases.insert(alias);
      alias_lines += "alias     " + alias_text(alias, entry.tensor) + "\n";
    }
  }
  std::string text;
  for (const auto& [key, value] : inspection.metadata) {
    if (aliases.contains(key)) continue;
    text += "metadata  " + escape_name(key) + " = " + escape_name(value) + "\n";
  }
  return text + alias_lines;
}

// "opaque    args: argparse.Namespace", a line for each.
std::string opaque_text(const Inspection& inspection) {
  std::string text;
  for (const OpaqueValue& value : inspection.opaque) {
    text += "opaque    " + escape_name(value.path) + ": " + escape_name(value.class_name) + "\n";
  }
  if (inspection.plain_values > 0) {
    text += "plain     " + count_text(inspection.plain_values) + " numbers and other values\n";
  }
  return text;
}

std::string summary(const std::string& path, const Inspection& inspection, bool stats) {
  std::string text = tensor_table(inspection, stats) + "\n" + dtype_table(inspection) + "\n";
  text += metadata_text(inspection) + opaque_text(inspection);
  text += "file      " + shown(path) + ": " +
          bytes_text(static_cast<double>(inspection.file_bytes)) + ", " +
          count_text(inspection.tensors.size()) + " tensors, header of " +
          bytes_text(static_cast<double>(inspection.header_bytes)) + "\n";
  return text;
}

}  // namespace

Status run_inspect(const Arguments& arguments) {
  const std::string& order = arguments.sort;
  if (!order.empty() && order != "size" && order != "name" && order != "sparsity") {
    return Status(ErrorCode::kInvalidArgument,
                  "--sort: expected size, name or sparsity, found '" + shown(order) + "'");
  }
  const bool stats = arguments.stats || order == "sparsity";
  WINNOW_ASSIGN_OR_RETURN(const size_t threads, thread_count(arguments.run));
  TbbParallelFor parallel(threads);
  ProgressBar progress(arguments.run);
  WINNOW_ASSIGN_OR_RETURN(Inspection inspection,
                          inspect_file(Env::posix(), arguments.file, stats, parallel, progress));
  progress.clear();
  sort_tensors(inspection.tensors, order);
  if (arguments.run.json) return print_inspect_json(arguments.file, inspection);
  if (arguments.run.quiet) return Status();
  std::string text = summary(arguments.file, inspection, stats);
  if (arguments.run.verbose) text += "stages    " + stages_text(inspection.seconds) + "\n";
  return print(text);
}

}  // namespace winnow::cli
