// Training data as data: every batch is added under one name and read back masked.
//
// The mask says which inputs the model sees. It is computed from one batch and applied to the next,
// so all batches must have the same shape.
#include <torch/torch.h>

#include <iostream>

#include "winnow/torch/data_norm_sparsifier.h"

namespace {

constexpr int kBatches = 20;
constexpr int64_t kBatchSize = 32, kFeatures = 64, kClasses = 4;

}  // namespace

int main() {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(kFeatures, 32), torch::nn::ReLU(),
                              torch::nn::Linear(32, kClasses));
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.5, .sparse_block_shape = {1, 4}});

  torch::Tensor x;
  for (int batch = 0; batch < kBatches; ++batch) {
    x = torch::randn({kBatchSize, kFeatures});
    const torch::Tensor classes = torch::randint(kClasses, {kBatchSize});

    // From the second batch on the name exists: its data are replaced and its mask is kept.
    // LibTorch warns about that once, because it could be a mistake.
    sparsifier.add_data("batch", x);
    x = sparsifier.get_data("batch", /*return_original=*/false);

    optimizer.zero_grad();
    torch::nn::functional::cross_entropy(model->forward(x), classes).backward();
    optimizer.step();

    sparsifier.step();  // after backward, which needs the mask that forward saw
  }

  const double share = x.eq(0).to(torch::kDouble).mean().item<double>();
  std::cout << "zeros in the last batch: " << share << '\n'
            << "steps of the sparsifier: " << sparsifier.step_count() << '\n';
  return share == 0.5 && sparsifier.step_count() == kBatches ? 0 : 1;
}
