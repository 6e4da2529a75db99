// PRIVATE. What of a module is saved.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <string>

namespace torch::nn {
class Module;
}

namespace winnow::internal {

/// The defined parameters and buffers, by their names with dots, in the order of Python's
/// state_dict: of each module first its parameters, then its buffers, then its children. Children
/// whose is_serializable() is false are left out with their children.
torch::OrderedDict<std::string, at::Tensor> serializable_tensors(const torch::nn::Module& module);

}  // namespace winnow::internal
