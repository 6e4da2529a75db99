// What the calls of a run take of memory at their peak, in shares of the table.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>

#include "io/temp_dir.h"
#include "support/peak_memory.h"
#include "torch/captured_warnings.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/training/trainer.h"

namespace winnow {
namespace {

using testing::peak_share;
using testing::TempDir;

constexpr int64_t kRows = 250'000, kCols = 128;  // of F32: 128 MB

TEST(Memory, OfASparsifierIsThatOfItsMask) {
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const at::Tensor table = torch::ones({kRows, kCols}, type);
    const auto bytes = static_cast<int64_t>(table.nbytes());
    const double mask_share = 1.0 / static_cast<double>(table.element_size());
    DataNormSparsifier sparsifier, loaded;
    EXPECT_LT(peak_share(bytes, [&] { sparsifier.add_data("x", table); }), 0.05);
    EXPECT_LT(peak_share(bytes, [&] { sparsifier.step(); }), mask_share + 0.05);
    const DataSparsifierState state = sparsifier.state_dict({.clone = false});
    loaded.add_data("x", table);
    loaded.step();
    EXPECT_LT(peak_share(bytes, [&] { loaded.load_masks(state); }), 0.05);
    EXPECT_LT(peak_share(bytes, [&] { sparsifier.squash_mask(); }), 0.15);
  }
}

TEST(Memory, OfACheckpointIsThatOfTheRun) {
  const TempDir dir;
  const std::string path = dir.path("run.pt");
  const auto step = [](torch::nn::Embedding& table) {
    return table(torch::zeros({1}, torch::kLong)).sum();
  };
  const testing::CapturedWarnings warnings;
  const int64_t table_bytes = kRows / 4 * kCols * 4,
                run_bytes = 3 * table_bytes;  // with Adam's state
  {
    torch::nn::Embedding table(kRows / 4, kCols);
    torch::optim::Adam optimizer(table->parameters(), 0.01);
    Trainer trainer({.max_epochs = 1});
    trainer.fit(*table, optimizer, 1, [&](int64_t, int64_t) { return step(table); });
    EXPECT_LT(peak_share(run_bytes, [&] { trainer.save_checkpoint(path); }), 0.05);
  }
  torch::nn::Embedding table{nullptr};
  std::unique_ptr<torch::optim::Adam> optimizer;
  Trainer trainer({.max_epochs = 1});
  const double share = peak_share(run_bytes, [&] {
    table = torch::nn::Embedding(kRows / 4, kCols);
    optimizer = std::make_unique<torch::optim::Adam>(table->parameters(), 0.01);
    trainer.fit(
        *table, *optimizer, 1, [&](int64_t, int64_t) { return step(table); }, path);
  });
  EXPECT_EQ(optimizer->state().size(), 1u);
  EXPECT_LT(share, 1.1);  // the model and the optimizer's state, and nothing else
}

}  // namespace
}  // namespace winnow
