// PRIVATE. Replaces a child of a container.
#pragma once

#include <torch/nn/modules/container/any.h>

#include <functional>
#include <string>
#include <typeinfo>

namespace winnow::internal {

/// Puts a module into a place. Throws only for lack of memory.
using ChildSetter = std::function<void(const torch::nn::AnyModule&)>;

/// Returns what replaces the child `name` of a Sequential, ModuleList or ModuleDict: both its entry
/// among the registered children and that in the list which the container's code uses. Valid until
/// the container is changed in another way. `parent` must outlive it.
///
/// Throws c10::ValueError, naming `replacement` as the type to declare, for any other kind of
/// parent, because its code uses a typed member, which would keep the old module; and
/// c10::ValueError if a container's list and its children disagree.
ChildSetter child_setter(torch::nn::Module& parent, const std::string& name,
                         const std::type_info& replacement);

}  // namespace winnow::internal
