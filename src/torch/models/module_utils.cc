#include "winnow/torch/module_utils.h"

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <string_view>

#include "torch/models/child_setter.h"
#include "torch/parametrize/parametrization_access.h"
#include "torch/support/errors.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/nn/linear.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
using namespace internal;

namespace {

using torch::nn::AnyModule;
using torch::nn::Module;

// Listed anew: LibTorch gives no other access to children by name.
std::shared_ptr<Module> find_child(const Module& module, const std::string& name) {
  const auto children = module.named_children();
  const auto* found = children.find(name);
  return found != nullptr ? *found : nullptr;
}

/// Returns the descendant of that name, or null. Precondition: the name is not empty.
Module* find_descendant(const Module& model, std::string_view path) {
  const size_t dot = path.find('.');
  Module* child = find_child(model, std::string(path.substr(0, dot))).get();
  if (child == nullptr || dot == std::string_view::npos) return child;
  return find_descendant(*child, path.substr(dot + 1));
}

/// Returns the tensor as forward sees it, or an undefined one if there is none.
at::Tensor read_tensor(const Module& module, const std::string& name) {
  const auto* parametrizable = dynamic_cast<const Parametrizable*>(&module);
  if (parametrizable != nullptr && parametrizable->parametrizations(name) != nullptr) {
    return parametrizable->read(name);
  }
  return find_tensor(module, name).tensor;
}

/// Returns the device of the module's tensors, or nullopt if it has none.
std::optional<at::Device> single_device(const Module& module) {
  std::vector<at::Tensor> tensors = module.parameters();
  for (const at::Tensor& buffer : module.buffers()) tensors.push_back(buffer);
  if (tensors.empty()) return std::nullopt;
  const at::Device device = tensors.front().device();
  for (const at::Tensor& tensor : tensors) {
    WINNOW_CHECK_ASSERTION(tensor.device() == device,
                           "swap_module works on single-device modules only: ", module.name(),
                           " is on ", device, " and ", tensor.device());
  }
  return device;
}

/// Makes the replacement; empty if the mapping has no entry for the module.
AnyModule make_replacement(const Module& module, const SwapMapping& mapping) {
  // By the exact type: replacing a derived class would lose its forward.
  const auto entry = mapping.find(typeid(module));
  if (entry == mapping.end()) return AnyModule();
  TORCH_CHECK_VALUE(entry->second != nullptr, "the mapping has an empty function for a ",
                    module.name());
  // Before the mapping's function runs, since it may throw.
  const auto device = single_device(module);
  AnyModule replacement = entry->second(module);
  TORCH_CHECK_VALUE(!replacement.is_empty(), "the replacement of a ", module.name(), " is empty");
  // A factory makes modules on the CPU unless it is told otherwise.
  if (device) replacement.ptr()->to(*device);
  // New modules of LibTorch are in training mode.
  replacement.ptr()->train(module.is_training());
  return replacement;
}

template <typename From, typename To>
AnyModule converted(const Module& module) {
  return AnyModule(std::make_shared<To>(dynamic_cast<const From&>(module)));
}

}  // namespace

bool any_parametrization(const Module& module,
                         const std::function<bool(const Parametrization*)>& test) {
  const auto* target = dynamic_cast<const Parametrizable*>(&module);
  if (target == nullptr) return false;
  return std::ranges::any_of(target->parametrized_names(), [&](const std::string& name) {
    return std::ranges::any_of(*target->parametrizations(name),
                               [&](const auto& link) { return test(link.get()); });
  });
}

std::optional<std::string> module_to_fqn(const Module& model, const Module& module,
                                         const std::string& prefix) {
  // The prefix is not for the model itself, as in upstream.
  if (&model == &module) return "";
  for (const auto& child : model.named_children()) {
    // The prefix "." gives the separator of descendants, and none for the child itself.
    if (const auto fqn = module_to_fqn(*child.value(), module, ".")) {
      return prefix + child.key() + *fqn;
    }
  }
  return std::nullopt;
}

Module* fqn_to_module(Module& model, const std::string& path) {
  return path.empty() ? &model : find_descendant(model, path);
}

at::Tensor fqn_to_tensor(const Module& model, const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return read_tensor(model, path);
  const Module* module = find_descendant(model, std::string_view(path).substr(0, dot));
  return module != nullptr ? read_tensor(*module, path.substr(dot + 1)) : at::Tensor();
}

TensorArgInfo get_arg_info_from_tensor_fqn(Module& model, const std::string& tensor_fqn) {
  const size_t dot = tensor_fqn.rfind('.');
  const std::string module_fqn = dot == std::string::npos ? "" : tensor_fqn.substr(0, dot);
  // Without a dot, dot + 1 is 0: the whole name.
  return {module_fqn, fqn_to_module(model, module_fqn), tensor_fqn.substr(dot + 1), tensor_fqn};
}

SwapMapping default_swap_mapping() {
  return {
      {typeid(torch::nn::EmbeddingImpl), converted<torch::nn::EmbeddingImpl, nn::EmbeddingImpl>},
      {typeid(torch::nn::EmbeddingBagImpl),
       converted<torch::nn::EmbeddingBagImpl, nn::EmbeddingBagImpl>},
      {typeid(torch::nn::LinearImpl), converted<torch::nn::LinearImpl, nn::LinearImpl>},
  };
}

std::shared_ptr<Module> swap_module(const std::shared_ptr<Module>& module,
                                    const SwapMapping& mapping) {
  TORCH_CHECK_VALUE(module != nullptr, "swap_module: expected a module, found none");
  const AnyModule replacement = make_replacement(*module, mapping);
  return replacement.is_empty() ? module : replacement.ptr();
}

std::shared_ptr<Module> swap_child(Module& parent, const std::string& name,
                                   const SwapMapping& mapping) {
  const auto child = find_child(parent, name);
  WINNOW_CHECK_KEY(child != nullptr, parent.name(), " has no child '", name, "'");
  const AnyModule replacement = make_replacement(*child, mapping);
  if (replacement.is_empty()) return child;
  child_setter(parent, name, replacement.type_info())(replacement);
  return replacement.ptr();
}

}  // namespace winnow
