// Names in a model and what they stand for, and the exchange of modules.
//
//   std::optional<std::string> fqn = winnow::module_to_fqn(*model, *model->bag);  // "bag"
//   at::Tensor weight = winnow::fqn_to_tensor(*model, "bag.weight");
//
//   torch::nn::Sequential model(torch::nn::EmbeddingBag(100, 32), torch::nn::Linear(32, 10));
//   winnow::swap_child(*model, "0", winnow::default_swap_mapping());  // now a winnow::nn's
//
// A fully qualified name (FQN) joins the names of children by '.', as named_modules does; the model
// itself is "". Walks go depth first, children in the order of registration.
//
// Source: torch.ao.pruning.sparsifier.utils. Thread-safety: as the modules' own.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <typeindex>
#include <unordered_map>

namespace torch::nn {
class AnyModule;
class Module;
}  // namespace torch::nn

namespace winnow {

class Parametrization;

/// Whether `test` holds for a link, never null, of a chain of the module itself, not of its
/// children.
bool any_parametrization(const torch::nn::Module& module,
                         const std::function<bool(const Parametrization*)>& test);

/// Whether a tensor of the module itself is parametrized by a P or by what derives from it:
///   module_contains_param<FakeSparsity>(*model->bag)
template <typename P>
bool module_contains_param(const torch::nn::Module& module) {
  return any_parametrization(
      module, [](const Parametrization* link) { return dynamic_cast<const P*>(link) != nullptr; });
}

/// The name of `module` in `model`: "" for the model itself, the first found where it is shared,
/// none where it is no part of it. `prefix` is put in front of the name of a descendant, as it is.
std::optional<std::string> module_to_fqn(const torch::nn::Module& model,
                                         const torch::nn::Module& module,
                                         const std::string& prefix = "");

/// The module of that name, which the model owns; null where there is none.
/// Differs from torch.ao: finds modules only; see fqn_to_tensor.
torch::nn::Module* fqn_to_module(torch::nn::Module& model, const std::string& path);

/// The parameter or buffer of that name; undefined where there is none. One that is parametrized is
/// found by both names: `NAME` is its read, `parametrizations.NAME.original` the original.
at::Tensor fqn_to_tensor(const torch::nn::Module& model, const std::string& path);

/// What the name of a tensor says.
struct TensorArgInfo {
  /// Of the module that has the tensor: the name up to its last dot; "" where it has none.
  std::string module_fqn;
  /// The module of that name, which the model owns; null where there is none.
  torch::nn::Module* module = nullptr;
  /// The name behind its last dot.
  std::string tensor_name;
  /// The name that was asked for.
  std::string tensor_fqn;
};

/// Takes the name of a tensor apart. Whether the module has the tensor is not looked up.
TensorArgInfo get_arg_info_from_tensor_fqn(torch::nn::Module& model, const std::string& tensor_fqn);

/// From the exact type of a module, typeid(SomeImpl), to the function that makes its replacement:
///   mapping[typeid(OldImpl)] = [](const torch::nn::Module& module) {
///     return torch::nn::AnyModule(New(dynamic_cast<const OldImpl&>(module)));
///   };
using SwapMapping =
    std::unordered_map<std::type_index,
                       std::function<torch::nn::AnyModule(const torch::nn::Module&)>>;

/// Embedding, EmbeddingBag and Linear: from torch::nn to winnow::nn, on the same tensors.
SwapMapping default_swap_mapping();

/// The replacement of `module` by the entry of its exact type, or `module` itself where there is no
/// such entry. The replacement is moved to the device of the module's parameters and buffers, and
/// has its training flag. The module and its parent are left as they are: see swap_child.
///
/// c10::ValueError where `module` is null, or the entry is an empty function. AssertionError
/// "single-device" where the parameters and buffers are on several devices. Differs from torch.ao:
/// the training flag is kept; there are no hooks.
std::shared_ptr<torch::nn::Module> swap_module(const std::shared_ptr<torch::nn::Module>& module,
                                               const SwapMapping& mapping);

/// Puts swap_module's result in the place of the child `name` of a Sequential, a ModuleList or a
/// ModuleDict, in the list that the container runs through and among its children, and returns it.
/// Nothing is done where the mapping has no entry for the child.
///
/// Code that asks a list for the old type gets null afterwards: where `list[0]->as<
/// torch::nn::EmbeddingBag>()` stood, it has to be `as<winnow::nn::EmbeddingBag>()`. No library can
/// see such code.
///
/// KeyError where there is no such child. c10::ValueError, naming the type to use, for any other
/// parent: its code reaches the child by a typed member, which would keep the old module.
/// c10::ValueError where a container's list and its children disagree. Errors of swap_module.
/// Nothing is changed by a failing call.
std::shared_ptr<torch::nn::Module> swap_child(torch::nn::Module& parent, const std::string& name,
                                              const SwapMapping& mapping);

}  // namespace winnow
