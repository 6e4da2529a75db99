// Models for the tests of post_training_sparse_quantize.
#pragma once

#include <torch/torch.h>

#include <sstream>
#include <string>

#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/module_utils.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow::testing {

inline const DataNormSparsifierOptions kEightOfTen{.sparsity_level = 0.8,
                                                   .sparse_block_shape = {1, 1}};

/// An embedding by each of the two ways to hold one: a typed member, and in a container.
struct ModelImpl : torch::nn::Cloneable<ModelImpl> {
  ModelImpl() { reset(); }
  void reset() override {
    users = register_module("users", nn::Embedding(100, 8));
    items = register_module("items", nn::EmbeddingBag(80, 8));
    rest = register_module(
        "rest", torch::nn::Sequential(torch::nn::EmbeddingBag(60, 8), torch::nn::Linear(8, 4)));
  }
  at::Tensor forward(const at::Tensor& indices) {
    return rest->forward(indices) + users(indices).sum(1).slice(1, 0, 4) +
           items(indices).slice(1, 0, 4);
  }

  nn::Embedding users = nullptr;
  nn::EmbeddingBag items = nullptr;
  torch::nn::Sequential rest = nullptr;
};
TORCH_MODULE(Model);

inline const nn::Quantizable& quantized(const torch::nn::Module& model, const std::string& name) {
  auto* module = fqn_to_module(const_cast<torch::nn::Module&>(model), name);
  auto* quantizable = dynamic_cast<const nn::Quantizable*>(module);
  TORCH_CHECK(quantizable != nullptr && quantizable->is_quantized(), name, " is not quantized");
  return *quantizable;
}

inline at::Tensor values(const torch::nn::Module& model, const std::string& name) {
  return quantized(model, name).storage()->weight();
}

inline std::string text_of(const torch::nn::Module& module) {
  std::ostringstream text;
  text << module;
  return text.str();
}

}  // namespace winnow::testing
