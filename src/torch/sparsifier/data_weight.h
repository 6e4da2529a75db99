// PRIVATE. Which tensor a piece of data means.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "winnow/torch/data_sparsifier.h"

namespace winnow::internal {

struct DataWeight {
  at::Tensor tensor;  ///< the object itself
  bool is_parameter = false;
  std::weak_ptr<torch::nn::Module> owner = {};  ///< the module that it is the weight of
};

/// AssertionError "specified data type ... not supported" for what cannot be sparsified.
DataWeight weight_of(const Data& data);

/// The `weight` of an Embedding or EmbeddingBag, as it stands there; null for other modules.
const at::Tensor* weight_of_module(torch::nn::Module& module);

/// The same for a tensor alone: undefined, sparse, quantized and nested ones. `owner` stands before
/// the tensor in the message.
void check_is_dense(const at::Tensor& tensor, const std::string& owner);

}  // namespace winnow::internal
