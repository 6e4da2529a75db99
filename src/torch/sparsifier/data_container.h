// PRIVATE. The module that holds a data sparsifier's tensors.
#pragma once

#include <string>
#include <vector>

#include "winnow/torch/parametrization.h"

namespace winnow::internal {

/// Has no forward. Made to show what a data sparsifier holds: nothing is ever taken out.
class DataContainer final : public torch::nn::Module, public Parametrizable {
 public:
  DataContainer() : Module("DataContainer") {}

  /// Adds `tensor`, the object itself, or in its place the chain that it is the original of.
  void add(const std::string& name, const at::Tensor& tensor, bool as_parameter,
           std::shared_ptr<ParametrizationList> chain);

 private:
  torch::nn::Module& module() noexcept override { return *this; }
  const torch::nn::Module& module() const noexcept override { return *this; }
  torch::OrderedDict<std::string, at::Tensor>& own_parameters() noexcept override {
    return parameters_;
  }
};

}  // namespace winnow::internal
