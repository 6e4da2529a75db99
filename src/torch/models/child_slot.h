// PRIVATE. The place of a child in a container.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <typeinfo>

namespace torch::nn {
class AnyModule;
class Module;
}  // namespace torch::nn

namespace winnow::internal {

/// The child `name` of a Sequential, a ModuleList or a ModuleDict: among the container's children,
/// and in the list that its code runs through. Valid until the container is changed otherwise.
class ChildSlot {
 public:
  /// c10::ValueError, naming `replacement` as the type to declare, for any other parent: its code
  /// reaches the child by a typed member, which would keep the old module. c10::ValueError where a
  /// container's list and its children disagree. `parent` has to outlive the slot.
  ChildSlot(torch::nn::Module& parent, const std::string& name, const std::type_info& replacement);

  /// Puts `module` into both places. Does not throw but for want of memory.
  void set(const torch::nn::AnyModule& module) const { set_(module); }

 private:
  std::function<void(const torch::nn::AnyModule&)> set_;
};

}  // namespace winnow::internal
