// PRIVATE. The tensor that a piece of data stands for.
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

/// Throws AssertionError "specified data type ... not supported" for data that cannot be
/// sparsified.
DataWeight weight_of(const Data& data);

/// Returns the member `weight` of an Embedding or EmbeddingBag; null for other modules.
const at::Tensor* weight_of_module(torch::nn::Module& module);

/// Throws the same for a tensor that is undefined, sparse, quantized or nested. `owner` is put in
/// front of the tensor in the message.
void check_is_dense(const at::Tensor& tensor, const std::string& owner);

}  // namespace winnow::internal
