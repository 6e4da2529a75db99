// Repeats torch.ao's study of its data sparsifier on DLRM with the recommender in this folder: over
// a grid of norms, blocks and levels, the time of a step, the size of the model's file, and the
// quality and speed of the model. ./dev demo-study runs it; docs/study.md shows the result and the
// differences from upstream's study.
#include <ATen/Parallel.h>
#include <torch/torch.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.h"
#include "data.h"
#include "deflate.h"
#include "line_chart.h"
#include "program.h"
#include "prune.h"
#include "results.h"
#include "train.h"
#include "winnow/torch/safetensors.h"

namespace recommender {
namespace {

struct Setting {
  std::string_view name;
  winnow::Norm norm;
  std::array<int64_t, 2> block;
};

// On single values L2 selects the same as L1, so upstream leaves it out as well.
constexpr std::array<Setting, 3> kSettings = {{{"L1 1x1", winnow::Norm::kL1, {1, 1}},
                                               {"L1 1x4", winnow::Norm::kL1, {1, 4}},
                                               {"L2 1x4", winnow::Norm::kL2, {1, 4}}}};
constexpr std::array<double, 20> kLevels = {0,   .1,  .2,  .3,  .4,  .5,  .6,  .7,  .8,  .9,
                                            .91, .92, .93, .94, .95, .96, .97, .98, .99, 1};
constexpr size_t kForwardRatings = 16384;
constexpr int kRuns = 10;

/// One model of the grid.
struct Cell {
  Setting setting;
  double level = 0;
  double step_seconds = 0;
  FileSize file = {};
  Metrics metrics = {};
  double forward_seconds = 0;      ///< of kForwardRatings
  double forward_coo_seconds = 0;  ///< with the first layer's weight as a sparse COO tensor
};

/// The median of some runs.
double median_seconds(const std::function<void()>& call) {
  std::vector<double> seconds;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return median(seconds);
}

/// Writes, measures and removes the model's file.
FileSize saved_size(const Recommender& model) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      ("winnow-study-" + std::to_string(::getpid()) + ".safetensors");
  winnow::save_safetensors(path.string(), *model);
  const FileSize size = file_size(path.string());
  std::filesystem::remove(path);
  return size;
}

class Study {
 public:
  Study(const MovieLens& data, const Arguments& arguments)
      : data_(data),
        split_(split_ratings(data.ratings(), 0)),
        dense_(train(data, split_, {.epochs = arguments.epochs})),
        batch_(make_batch(
            data, std::span(split_.test).first(std::min(kForwardRatings, split_.test.size())))) {}

  Cell measure(const Setting& setting, double level) const {
    Cell cell{.setting = setting, .level = level};
    Recommender model = copy_of(dense_);
    winnow::DataNormSparsifier sparsifier(
        {.sparsity_level = level, .sparse_block_shape = setting.block, .norm = setting.norm});
    winnow::attach_model(*model, sparsifier, tables_only());
    cell.step_seconds = median_seconds([&] { sparsifier.step(); });
    squash_to_zero(sparsifier);
    cell.file = saved_size(model);
    cell.metrics = evaluate(model, data_, split_);
    time_forward(model, cell);
    return cell;
  }

 private:
  void time_forward(Recommender& model, Cell& cell) const {
    const torch::NoGradGuard no_grad;
    cell.forward_seconds = median_seconds([&] { model(batch_); });
    const at::Tensor sparse = model->hidden1->weight.to_sparse();
    cell.forward_coo_seconds = median_seconds([&] {
      // Rows of the dense factor are added up, which is faster if they are contiguous.
      const at::Tensor product = at::mm(sparse, model->embeddings(batch_).t().contiguous()).t();
      model->output(model->hidden2((product + model->hidden1->bias).relu()).relu());
    });
  }

  const MovieLens& data_;
  const Split split_;
  const Recommender dense_;
  const Batch batch_;
};

std::string to_csv(std::span<const Cell> cells) {
  std::string text =
      "norm,sparse_block_shape,sparsity_level,step_seconds,file_bytes,deflated_bytes,auc,accuracy,"
      "log_loss,forward_seconds,forward_coo_seconds\n";
  for (const Cell& cell : cells) {
    const std::string name(cell.setting.name);
    text += name.substr(0, 2) + "," + name.substr(3) + "," + fixed(cell.level, 2) + "," +
            fixed(cell.step_seconds, 7) + "," + std::to_string(cell.file.bytes) + "," +
            std::to_string(cell.file.deflated_bytes) + "," + fixed(cell.metrics.auc, 6) + "," +
            fixed(cell.metrics.accuracy, 6) + "," + fixed(cell.metrics.log_loss, 6) + "," +
            fixed(cell.forward_seconds, 6) + "," + fixed(cell.forward_coo_seconds, 6) + "\n";
  }
  return text;
}

/// A part of the grid as Markdown.
std::string to_table(std::span<const Cell> cells) {
  std::string text =
      "| norm, block | zeros, % | step, ms | file, kB | deflated, kB | AUC | accuracy | log loss | "
      "forward, ms | with COO, ms |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (const Cell& cell : cells) {
    for (const double shown : {0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0}) {
      if (cell.level == shown) {
        text += "| " + std::string(cell.setting.name) + " | " + percent(cell.level) + " | " +
                fixed(cell.step_seconds * 1e3, 2) + " | " +
                fixed(1e-3 * double(cell.file.bytes), 0) + " | " +
                fixed(1e-3 * double(cell.file.deflated_bytes), 0) + " | " +
                fixed(cell.metrics.auc, 3) + " | " + fixed(cell.metrics.accuracy, 3) + " | " +
                fixed(cell.metrics.log_loss, 3) + " | " + fixed(cell.forward_seconds * 1e3, 1) +
                " | " + fixed(cell.forward_coo_seconds * 1e3, 1) + " |\n";
      }
    }
  }
  return text;
}

/// One line for each setting.
std::vector<Series> series_of(std::span<const Cell> cells,
                              const std::function<double(const Cell&)>& value) {
  std::vector<Series> all;
  for (const Setting& setting : kSettings) {
    Series series{std::string(setting.name), {}};
    for (const Cell& cell : cells) {
      if (cell.setting.name == setting.name) {
        series.points.push_back({cell.level * 100, value(cell)});
      }
    }
    all.push_back(series);
  }
  return all;
}

/// Milliseconds against the level, for the first setting.
std::vector<Point> forward_points(std::span<const Cell> cells, double Cell::*seconds) {
  std::vector<Point> points;
  for (const Cell& cell : cells.first(kLevels.size())) {
    points.push_back({cell.level * 100, cell.*seconds * 1e3});
  }
  return points;
}

std::vector<LineChart> charts_of(std::span<const Cell> cells) {
  const auto chart = [&](const char* title, const char* unit,
                         const std::function<double(const Cell&)>& value) {
    return LineChart{.title = title,
                     .x_label = "sparsity level, %",
                     .y_label = unit,
                     .series = value ? series_of(cells, value) : std::vector<Series>{}};
  };
  LineChart sizes = chart("The model's file, deflated", "kB",
                          [](const Cell& cell) { return 1e-3 * double(cell.file.deflated_bytes); });
  sizes.y_min = 0;
  LineChart forward = chart("Forward of 16384 ratings, L1 1x1", "ms", {});
  forward.series = {{"dense", forward_points(cells, &Cell::forward_seconds)},
                    {"first layer as COO", forward_points(cells, &Cell::forward_coo_seconds)}};
  forward.y_min = 0;
  return {
      sizes,
      chart("Test AUC", "AUC", [](const Cell& cell) { return cell.metrics.auc; }),
      chart("Test accuracy", "accuracy", [](const Cell& cell) { return cell.metrics.accuracy; }),
      chart("Test log loss", "nats", [](const Cell& cell) { return cell.metrics.log_loss; }),
      chart("One step of the sparsifier", "ms",
            [](const Cell& cell) { return cell.step_seconds * 1e3; }),
      forward};
}

void run(const Arguments& arguments) {
  at::set_num_threads(1);  // as in main.cc
  const Progress progress;
  progress.say("reading " + arguments.data + " and training");
  const MovieLens data = read_movielens(arguments.data);
  const Study study(data, arguments);
  std::vector<Cell> cells;
  for (const Setting& setting : kSettings) {
    progress.say("pruning with " + std::string(setting.name));
    for (const double level : kLevels) {
      cells.push_back(study.measure(setting, level));
    }
  }
  std::cout << to_table(cells);
  if (!arguments.csv.empty()) {
    write_text(arguments.csv, to_csv(cells));
  }
  if (!arguments.svg.empty()) {
    write_text(arguments.svg, to_svg(charts_of(cells), 2));
  }
  progress.say("done");
}

}  // namespace
}  // namespace recommender

int main(int argc, char** argv) {
  const recommender::Arguments arguments = recommender::parse_arguments(
      argc, argv, "Prunes one trained recommender over a grid of levels, norms and blocks.");
  return recommender::run_program([&] { recommender::run(arguments); });
}
