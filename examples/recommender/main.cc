// A recommender on MovieLens 100k: trained dense, pruned after and during training, and judged each
// time by its test AUC. ./dev demo-train runs it; docs/recommender.md shows the result.
#include <ATen/Parallel.h>

#include <array>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "arguments.h"
#include "data.h"
#include "line_chart.h"
#include "program.h"
#include "prune.h"
#include "results.h"
#include "train.h"

namespace recommender {
namespace {

constexpr std::array<double, 4> kLevels = {0.5, 0.8, 0.9, 0.95};
constexpr double kQuantizedLevel = 0.9;
const std::string kDuring = "during training", kAfter = "after training",
                  kAfterBlocks = "after training in 1x4";
const std::array<std::string, 3> kMethods = {kDuring, kAfter, kAfterBlocks};

/// A way to make tables of bytes.
struct Quantization {
  std::string name;
  winnow::PostTrainingSparseQuantizeOptions options;
};
const std::array<Quantization, 4> kQuantizations = {{
    {"pruned then quantized", {}},
    {"quantized then pruned", {.sparsify_first = false}},
    {"pruned then quantized as upstream", {.zero_policy = winnow::nn::ZeroPolicy::kUpstream}},
    {"quantized then pruned as upstream",
     {.sparsify_first = false, .zero_policy = winnow::nn::ZeroPolicy::kUpstream}},
}};

/// Everything that is done with one split and one set of initial values.
class Experiment {
 public:
  Experiment(const MovieLens& data, uint64_t seed, int64_t epochs, std::vector<Run>& runs)
      : data_(data),
        split_(split_ratings(data.ratings(), seed)),
        options_{.epochs = epochs, .seed = seed},
        runs_(runs) {}

  void run(const Progress& progress) {
    const std::string seed = "seed " + std::to_string(options_.seed) + ": ";
    progress.say(seed + "training dense");
    const Recommender dense = train(data_, split_, options_);
    judge(kDense, 0, dense);
    progress.say(seed + "pruning after training, and quantizing");
    prune_after(dense);
    quantize(dense);
    for (const double level : kLevels) {
      progress.say(seed + "pruning to " + percent(level) + " % during training");
      const int64_t steps = training_steps(split_, options_);
      judge(kDuring, level, train(data_, split_, options_, {cubic_pruning(level, steps)}));
    }
  }

 private:
  void prune_after(const Recommender& dense) {
    for (const double level : kLevels) {
      judge(kAfter, level,
            pruned_copy(dense, {.sparsity_level = level, .sparse_block_shape = {1, 1}}));
      judge(kAfterBlocks, level,
            pruned_copy(dense, {.sparsity_level = level, .sparse_block_shape = {1, 4}}));
    }
  }

  void quantize(const Recommender& dense) {
    for (const Quantization& way : kQuantizations) {
      judge(way.name, 0, quantized_copy(dense, 0, way.options));
      for (const double level : kLevels) {
        judge(way.name, level, quantized_copy(dense, level, way.options));
      }
    }
  }

  void judge(const std::string& method, double level, const Recommender& model) {
    runs_.push_back({.method = method,
                     .level = level,
                     .seed = options_.seed,
                     .metrics = evaluate(model, data_, split_),
                     .zeros = share_of_zeros(model),
                     .table_bytes = table_bytes(model)});
  }

  const MovieLens& data_;
  const Split split_;
  const TrainOptions options_;
  std::vector<Run>& runs_;
};

std::vector<std::string> quantized_methods() {
  std::vector<std::string> names{kAfter};
  for (const Quantization& way : kQuantizations) {
    names.push_back(way.name);
  }
  return names;
}

void run(const Arguments& arguments) {
  // One thread: sums then do not depend on the number of cores, and batches are too small for two.
  at::set_num_threads(1);
  const Progress progress;
  progress.say("reading " + arguments.data);
  const MovieLens data = read_movielens(arguments.data);
  std::vector<Run> runs;
  for (int64_t seed = 0; seed < arguments.seeds; ++seed) {
    Experiment(data, static_cast<uint64_t>(seed), arguments.epochs, runs).run(progress);
  }
  std::cout << auc_table(runs, kMethods, kLevels) << '\n'
            << size_table(runs, quantized_methods(), kQuantizedLevel);
  if (!arguments.csv.empty()) {
    write_text(arguments.csv, to_csv(runs));
  }
  if (!arguments.svg.empty()) {
    const std::array<LineChart, 1> charts = {auc_chart(runs, kMethods, kLevels)};
    write_text(arguments.svg, to_svg(charts));
  }
  progress.say("done");
}

}  // namespace
}  // namespace recommender

int main(int argc, char** argv) {
  const recommender::Arguments arguments = recommender::parse_arguments(
      argc, argv,
      "Trains a recommender on MovieLens 100k and prunes it, after and while it trains.");
  return recommender::run_program([&] { recommender::run(arguments); });
}
