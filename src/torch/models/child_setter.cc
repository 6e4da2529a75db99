#include "torch/models/child_setter.h"

#include <c10/util/Exception.h>
#include <c10/util/Type.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/container/moduledict.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>

#include <algorithm>
#include <string_view>

namespace winnow::internal {
namespace {

using torch::nn::AnyModule;
using torch::nn::Module;

/// Returns the holder's name, which is what code uses: "winnow::nn::Linear" for a LinearImpl.
std::string holder_name(const std::type_info& type) {
  std::string name = c10::demangle(type.name());
  constexpr std::string_view kSuffix = "Impl";
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

// A user who changed one of the two alone gets an error, and not half a swap.
void check_agreement(bool agree, const Module& parent, const std::string& name) {
  TORCH_CHECK_VALUE(agree, "cannot swap '", name, "' of ", parent.name(),
                    ": its list holds another module than its children there");
}

void put(AnyModule& element, const AnyModule& module) { element = module; }
void put(std::shared_ptr<Module>& element, const AnyModule& module) { element = module.ptr(); }

/// The position in the list is that of the child, because children are registered in list order.
/// replace_module alone would not do: the list keeps its own pointers, and forward uses those.
template <typename List>
ChildSetter setter_in_list(List& list, const std::string& name) {
  const auto children = list.named_children();
  const auto child = std::ranges::find(children, name, [](const auto& item) { return item.key(); });
  const auto position = child - children.begin();
  const bool agree = static_cast<size_t>(position) < list.size() &&
                     list.ptr(static_cast<size_t>(position)) == child->value();
  check_agreement(agree, list, name);
  // By position, because iterators would not survive a change of the list.
  return [&list, name, position](const AnyModule& module) {
    put(*(list.begin() + position), module);
    list.replace_module(name, module.ptr());
  };
}

ChildSetter setter_in_dict(torch::nn::ModuleDictImpl& dict, const std::string& name) {
  const auto children = dict.named_children();
  check_agreement(dict.contains(name) && dict[name] == children[name], dict, name);
  // update sets both the dictionary's entry and the registered child.
  return [&dict, name](const AnyModule& module) { dict.update({{name, module.ptr()}}); };
}

}  // namespace

ChildSetter child_setter(Module& parent, const std::string& name,
                         const std::type_info& replacement) {
  if (auto* sequential = parent.as<torch::nn::SequentialImpl>()) {
    return setter_in_list(*sequential, name);
  }
  if (auto* list = parent.as<torch::nn::ModuleListImpl>()) return setter_in_list(*list, name);
  if (auto* dict = parent.as<torch::nn::ModuleDictImpl>()) return setter_in_dict(*dict, name);
  TORCH_CHECK_VALUE(false, "cannot swap '", name, "' of ", parent.name(),
                    ": its forward holds the module by a member of its own and would go on using "
                    "it; declare the member as ",
                    holder_name(replacement));
}

}  // namespace winnow::internal
