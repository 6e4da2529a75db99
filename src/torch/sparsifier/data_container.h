// PRIVATE. The module that shows a data sparsifier's tensors.
#pragma once

#include <string>
#include <vector>

#include "winnow/torch/parametrization.h"

namespace winnow::internal {

/// A module without forward. It only shows the data of a sparsifier: nothing is ever removed.
class DataContainer final : public torch::nn::Module, public Parametrizable {
 public:
  DataContainer() : Module("DataContainer") {}

  /// Adds the object `tensor`, or the chain whose original it is unless that is null.
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
