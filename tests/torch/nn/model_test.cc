// The model of the upstream guide, an EmbeddingBag and two Linears, sparsified in both ways in
// which a C++ program holds it: as a Sequential and by typed members.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/module_utils.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/nn/linear.h"

namespace winnow {
namespace {

struct MembersImpl : torch::nn::Cloneable<MembersImpl> {
  MembersImpl() { reset(); }
  void reset() override {
    bag = register_module("bag", nn::EmbeddingBag(100, 32));
    hidden = register_module("hidden", nn::Linear(32, 32));
    output = register_module("output", nn::Linear(32, 10));
  }
  at::Tensor forward(const at::Tensor& indices) { return output(hidden(bag(indices)).relu()); }

  nn::EmbeddingBag bag = nullptr;
  nn::Linear hidden = nullptr, output = nullptr;
};
TORCH_MODULE(Members);

torch::nn::Sequential make_sequential() {
  return torch::nn::Sequential(nn::EmbeddingBag(100, 32), nn::Linear(32, 32), torch::nn::ReLU(),
                               nn::Linear(32, 10));
}

at::Tensor batch() { return torch::randint(100, {16, 8}); }

template <typename Model>
void train(Model& model, torch::optim::Optimizer& optimizer, int steps) {
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    torch::mse_loss(model->forward(batch()), torch::ones({16, 10})).backward();
    optimizer.step();
  }
}

/// The guide's steps: add the bag, train, step, squash. Then the model's own weight is sparse, its
/// forward sees that, and the optimizer from before goes on.
template <typename Model>
void sparsify_by_the_guide(Model& model, nn::EmbeddingBag bag) {
  torch::manual_seed(3);
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  const at::Tensor weight = bag->weight, indices = batch();
  DataNormSparsifier sparsifier({.sparsity_level = 0.8, .sparse_block_shape = {1, 4}});
  sparsifier.add_data("bag", bag);
  train(model, optimizer, 3);
  sparsifier.step();
  const at::Tensor mask = sparsifier.get_mask("bag").clone();
  const at::Tensor expected = (weight * mask).detach(), dense_output = model->forward(indices);
  EXPECT_EQ(mask.eq(0).sum().item<int64_t>(), 2560);  // 0.8 of 100 x 32
  EXPECT_EQ(weight.eq(0).sum().item<int64_t>(), 0);
  sparsifier.squash_mask();
  EXPECT_TRUE(bag->weight.is_same(weight));
  EXPECT_TRUE(weight.equal(expected));
  EXPECT_TRUE(bag(indices).equal(torch::nn::functional::embedding_bag(indices, expected)));
  EXPECT_FALSE(model->forward(indices).equal(dense_output));
  train(model, optimizer, 1);
  EXPECT_FALSE(weight.equal(expected));
}

TEST(GuideModel, IsSparsifiedInASequential) {
  auto model = make_sequential();
  sparsify_by_the_guide(model, nn::EmbeddingBag(model->ptr<nn::EmbeddingBagImpl>(0)));
}

TEST(GuideModel, IsSparsifiedByTypedMembers) {
  Members model;
  sparsify_by_the_guide(model, model->bag);
}

/// Trained with a mask in place, dropped values stay dropped, whatever the optimizer does.
template <typename Model>
void train_masked(Model& model, nn::EmbeddingBag bag) {
  torch::manual_seed(5);
  torch::optim::Adam optimizer(model->parameters(), 0.01);
  const at::Tensor mask = torch::rand({100, 32}).gt(0.5);
  register_parametrization(*bag, "weight", std::make_shared<FakeSparsity>(mask));
  EXPECT_TRUE(module_contains_param<FakeSparsity>(*bag));
  const at::Tensor dropped_before = bag->weight.masked_select(mask.logical_not()).detach().clone();
  const at::Tensor indices = batch();
  const at::Tensor before = model->forward(indices);
  train(model, optimizer, 5);
  EXPECT_FALSE(model->forward(indices).equal(before));
  EXPECT_TRUE(bag->weight.masked_select(mask.logical_not()).equal(dropped_before));
  const at::Tensor masked = model->forward(indices);
  remove_parametrizations(*bag, "weight");
  EXPECT_TRUE(model->forward(indices).equal(masked));
  EXPECT_TRUE(bag->weight.masked_select(mask.logical_not()).eq(0).all().template item<bool>());
}

TEST(GuideModel, TrainsMaskedInASequential) {
  auto model = make_sequential();
  train_masked(model, nn::EmbeddingBag(model->ptr<nn::EmbeddingBagImpl>(0)));
}

TEST(GuideModel, TrainsMaskedByTypedMembers) {
  Members model;
  train_masked(model, model->bag);
}

TEST(GuideModel, ClonesWithItsMasks) {
  Members model;
  register_parametrization(*model->bag, "weight",
                           std::make_shared<FakeSparsity>(torch::rand({100, 32}).gt(0.5)));
  const auto copy = std::dynamic_pointer_cast<MembersImpl>(model->clone());
  const at::Tensor indices = batch();
  EXPECT_TRUE(copy->forward(indices).equal(model->forward(indices)));
  EXPECT_TRUE(module_contains_param<FakeSparsity>(*copy->bag));
  remove_parametrizations(*model->bag, "weight");
  EXPECT_TRUE(module_contains_param<FakeSparsity>(*copy->bag));
  EXPECT_TRUE(copy->named_parameters().contains("bag.parametrizations.weight.original"));
}

TEST(GuideModel, OfLibTorchIsConvertedInASequentialAndThenMasked) {
  torch::nn::Sequential model(torch::nn::EmbeddingBag(100, 32), torch::nn::Linear(32, 32),
                              torch::nn::ReLU(), torch::nn::Linear(32, 10));
  const at::Tensor indices = batch();
  const at::Tensor before = model->forward(indices);
  for (const std::string& name : model->named_children().keys()) {
    swap_child(*model, name, default_swap_mapping());
  }
  EXPECT_TRUE(model->forward(indices).equal(before));
  sparsify_by_the_guide(model, nn::EmbeddingBag(model->ptr<nn::EmbeddingBagImpl>(0)));
}

}  // namespace
}  // namespace winnow
