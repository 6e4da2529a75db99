// Finds modules and tensors of a model by name, and swaps modules.
//
//   std::optional<std::string> fqn = winnow::module_to_fqn(*model, *model->bag);  // "bag"
//   at::Tensor weight = winnow::fqn_to_tensor(*model, "bag.weight");
//
//   torch::nn::Sequential model(torch::nn::EmbeddingBag(100, 32), torch::nn::Linear(32, 10));
//   winnow::swap_child(*model, "0", winnow::default_swap_mapping());  // now a winnow::nn's
//
// A fully qualified name (FQN) joins the names of children with '.', as named_modules does; the
// model itself is "". Searches go depth first, with children in the order of registration.
//
// Source: torch.ao.pruning.sparsifier.utils. Thread-safety: that of the modules.
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

/// Returns true if `test` holds for a parametrization of the module itself; children are not
/// searched. `test` never gets null.
bool any_parametrization(const torch::nn::Module& module,
                         const std::function<bool(const Parametrization*)>& test);

/// Returns true if a tensor of the module itself is parametrized by a P or a class derived from P:
///   module_contains_param<FakeSparsity>(*model->bag)
template <typename P>
bool module_contains_param(const torch::nn::Module& module) {
  return any_parametrization(
      module, [](const Parametrization* link) { return dynamic_cast<const P*>(link) != nullptr; });
}

/// Returns the name of `module` in `model`: "" for the model itself, the first name found if the
/// module is shared, nullopt if it is not part of the model. `prefix` is put unchanged in front of
/// a descendant's name.
std::optional<std::string> module_to_fqn(const torch::nn::Module& model,
                                         const torch::nn::Module& module,
                                         const std::string& prefix = "");

/// Returns the module of that name, owned by the model, or null if there is none. Differs from
/// torch.ao: finds only modules; see fqn_to_tensor.
torch::nn::Module* fqn_to_module(torch::nn::Module& model, const std::string& path);

/// Returns the parameter or buffer of that name, or an undefined tensor if there is none. A
/// parametrized tensor has two names: `NAME` gives its parametrized read,
/// `parametrizations.NAME.original` the original.
at::Tensor fqn_to_tensor(const torch::nn::Module& model, const std::string& path);

/// The parts of a tensor's name.
struct TensorArgInfo {
  /// The name of the tensor's module: everything before the last dot, "" if there is no dot.
  std::string module_fqn;
  /// The module of that name, owned by the model; null if there is none.
  torch::nn::Module* module = nullptr;
  /// Everything after the last dot.
  std::string tensor_name;
  /// The name that was passed in.
  std::string tensor_fqn;
};

/// Splits the name of a tensor into its parts. Does not check that the module has the tensor.
TensorArgInfo get_arg_info_from_tensor_fqn(torch::nn::Module& model, const std::string& tensor_fqn);

/// Maps the exact type of a module, typeid(SomeImpl), to the function that makes its replacement:
///   mapping[typeid(OldImpl)] = [](const torch::nn::Module& module) {
///     return torch::nn::AnyModule(New(dynamic_cast<const OldImpl&>(module)));
///   };
using SwapMapping =
    std::unordered_map<std::type_index,
                       std::function<torch::nn::AnyModule(const torch::nn::Module&)>>;

/// Returns the mapping of Embedding, EmbeddingBag and Linear from torch::nn to winnow::nn. The new
/// modules use the same tensors.
SwapMapping default_swap_mapping();

/// Returns the replacement of `module`, made by the entry for its exact type, or `module` itself if
/// there is no such entry. The replacement is moved to the device of the module's parameters and
/// buffers and gets its training flag. The module and its parent are not changed: see swap_child.
///
/// Throws c10::ValueError if `module` is null or the entry is an empty function, and AssertionError
/// "single-device" if the parameters and buffers are on several devices. Differs from torch.ao: the
/// training flag is kept; there are no hooks.
std::shared_ptr<torch::nn::Module> swap_module(const std::shared_ptr<torch::nn::Module>& module,
                                               const SwapMapping& mapping);

/// Replaces the child `name` of a Sequential, ModuleList or ModuleDict by swap_module's result and
/// returns it. Both the container's own list and its registered children are updated. Does nothing
/// if the mapping has no entry for the child.
///
/// Code that asks the container for the old type gets null afterwards: replace
/// `list[0]->as<torch::nn::EmbeddingBag>()` by `as<winnow::nn::EmbeddingBag>()`. The library cannot
/// detect such code.
///
/// Throws KeyError if there is no such child. Throws c10::ValueError, naming the type to use, for
/// any other kind of parent, because its code uses a typed member, which would keep the old module;
/// and c10::ValueError if a container's list and its children disagree. Also throws what
/// swap_module throws. A failing call changes nothing.
std::shared_ptr<torch::nn::Module> swap_child(torch::nn::Module& parent, const std::string& name,
                                              const SwapMapping& mapping);

}  // namespace winnow
