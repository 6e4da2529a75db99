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

/// The child `name` of a Sequential, ModuleList or ModuleDict: both its entry among the registered
/// children and that in the list which the container's code uses. Valid until the container is
/// changed in another way.
class ChildSlot {
 public:
  /// Throws c10::ValueError, naming `replacement` as the type to declare, for any other kind of
  /// parent, because its code uses a typed member, which would keep the old module; and
  /// c10::ValueError if a container's list and its children disagree. `parent` must outlive the
  /// slot.
  ChildSlot(torch::nn::Module& parent, const std::string& name, const std::type_info& replacement);

  /// Puts `module` into both places. Throws only for lack of memory.
  void set(const torch::nn::AnyModule& module) const { set_(module); }

 private:
  std::function<void(const torch::nn::AnyModule&)> set_;
};

}  // namespace winnow::internal
