// The embeddings of a model: trained, then sparsified in place.
//
// The model uses LibTorch's own modules and does not know winnow. The sparsifier holds the module's
// weight, the same tensor object, so the model sees the result.
#include <torch/torch.h>

#include <iostream>

#include "winnow/torch/data_norm_sparsifier.h"

namespace {

struct ModelImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& indices) {
    return output(hidden(bag(indices)).relu());
  }

  torch::nn::EmbeddingBag bag{register_module("bag", torch::nn::EmbeddingBag(100, 32))};
  torch::nn::Linear hidden{register_module("hidden", torch::nn::Linear(32, 32))};
  torch::nn::Linear output{register_module("output", torch::nn::Linear(32, 10))};
};
TORCH_MODULE(Model);

/// Trains for some steps: the class of a bag is its first index, modulo 10.
double train(Model& model, torch::optim::Optimizer& optimizer, int steps) {
  double loss_value = 0;
  for (int i = 0; i < steps; ++i) {
    const torch::Tensor indices = torch::randint(100, {64, 4});
    const torch::Tensor classes = indices.select(1, 0).remainder(10);
    optimizer.zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(model(indices), classes);
    loss.backward();
    optimizer.step();
    loss_value = loss.item<double>();
  }
  return loss_value;
}

double share_of_zeros(const torch::Tensor& tensor) {
  return tensor.eq(0).to(torch::kDouble).mean().item<double>();
}

}  // namespace

int main() {
  torch::manual_seed(1);
  Model model;
  torch::optim::Adam optimizer(model->parameters(), 0.01);

  winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.75, .sparse_block_shape = {1, 4}});
  sparsifier.add_data("bag", model->bag);
  std::cout << "loss after training:      " << train(model, optimizer, 200) << '\n';

  sparsifier.step();
  // The model is dense until it is squashed; the sparsifier's own read is masked.
  const double share_before = share_of_zeros(model->bag->weight);
  const double share_of_read = share_of_zeros(sparsifier.get_data("bag", false));

  sparsifier.squash_mask();
  const double share_after = share_of_zeros(model->bag->weight);
  std::cout << "zeros in the model:       " << share_before << '\n'
            << "zeros in the masked read: " << share_of_read << '\n'
            << "zeros once squashed:      " << share_after << '\n';

  // The same optimizer still works on the same tensor object, but nothing holds the zeros now.
  std::cout << "loss after more training: " << train(model, optimizer, 20) << '\n';
  return share_before == 0 && share_of_read == 0.75 && share_after == 0.75 ? 0 : 1;
}
