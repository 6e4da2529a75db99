// PRIVATE. The tensors of a module that are saved.
#pragma once

#include <torch/nn/module.h>

#include <string>

namespace winnow::internal {

/// Returns the defined parameters and buffers by fully qualified name, in the order of Python's
/// state_dict: for each module first its parameters, then its buffers, then its children. Children
/// whose is_serializable() is false are left out with everything below them.
torch::OrderedDict<std::string, at::Tensor> serializable_tensors(const torch::nn::Module& module);

}  // namespace winnow::internal
