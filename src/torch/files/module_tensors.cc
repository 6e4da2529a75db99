#include "torch/files/module_tensors.h"

namespace winnow::internal {
namespace {

using Tensors = torch::OrderedDict<std::string, at::Tensor>;

void add_tensors(const torch::nn::Module& module, const std::string& prefix, Tensors& out) {
  for (const auto& own :
       {module.named_parameters(/*recurse=*/false), module.named_buffers(/*recurse=*/false)}) {
    for (const auto& item : own) out.insert(prefix + item.key(), item.value());
  }
  for (const auto& child : module.named_children()) {
    // Children that torch::save leaves out stay out here too.
    if (child.value()->is_serializable()) {
      add_tensors(*child.value(), prefix + child.key() + ".", out);
    }
  }
}

}  // namespace

Tensors serializable_tensors(const torch::nn::Module& module) {
  Tensors tensors("Tensor");
  add_tensors(module, "", tensors);
  return tensors;
}

}  // namespace winnow::internal
