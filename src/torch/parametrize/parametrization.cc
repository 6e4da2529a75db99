#include "winnow/torch/parametrization.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <ranges>

#include "torch/parametrize/parametrization_access.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"

namespace winnow {
using namespace internal;

namespace {

// The same name as in Python, so that state dicts have the same keys.
constexpr const char* kChildName = "parametrizations";

std::shared_ptr<torch::nn::Module> chains_of(torch::nn::Module& module) {
  const auto children = module.named_children();
  const auto* found = children.find(kChildName);
  return found != nullptr
             ? *found
             : module.register_module(kChildName, std::make_shared<torch::nn::Module>());
}

Parametrizable& parametrizable(torch::nn::Module& module) {
  // Refused, and not ignored: a mask that forward does not see would do nothing.
  auto* target = dynamic_cast<Parametrizable*>(&module);
  TORCH_CHECK_TYPE(
      target != nullptr, "cannot parametrize a ", module.name(),
      ": its forward reads its members directly. Use winnow::nn::Embedding, EmbeddingBag "
      "or Linear in its place, or derive from winnow::ParametrizableModule");
  return *target;
}

}  // namespace

FoundTensor internal::find_tensor(const torch::nn::Module& module, const std::string& name) {
  const auto parameters = module.named_parameters(/*recurse=*/false);
  if (const at::Tensor* found = parameters.find(name)) return {*found, true};
  const auto buffers = module.named_buffers(/*recurse=*/false);
  if (const at::Tensor* found = buffers.find(name)) return {*found, false};
  return {};
}

ParametrizationList::ParametrizationList(at::Tensor original, bool original_is_parameter)
    : Module("ParametrizationList"),
      original_(std::move(original)),
      original_is_parameter_(original_is_parameter) {
  if (original_is_parameter_) {
    parameters_.insert("original", original_);  // register_parameter would set requires_grad
  } else {
    register_buffer("original", original_);
  }
}

// Computed at every read and never cached: the original and the links may change in place.
at::Tensor ParametrizationList::read() const {
  at::Tensor tensor = original_;
  for (const auto& link : links_) tensor = link->forward(tensor);
  return tensor;
}

void ParametrizationList::append(std::shared_ptr<Parametrization> link) {
  // Named by number, as in Python, whose states have the same keys.
  register_module(std::to_string(links_.size()), link);
  links_.push_back(std::move(link));
}

at::Tensor Parametrizable::read(const std::string& name) const {
  if (const auto chain = parametrizations(name)) return chain->read();
  const at::Tensor tensor = find_tensor(module(), name).tensor;
  WINNOW_CHECK_KEY(tensor.defined(), module().name(), " has no parameter or buffer '", name, "'");
  return tensor;
}

std::shared_ptr<ParametrizationList> Parametrizable::parametrizations(
    std::string_view name) const noexcept {
  const auto found = std::ranges::find(lists_, name, [](const auto& item) { return item.first; });
  return found == lists_.end() ? nullptr : found->second;
}

std::vector<std::string> Parametrizable::parametrized_names() const {
  const auto names = std::views::keys(lists_);
  return {names.begin(), names.end()};
}

bool internal::ParametrizationAccess::has_name(const Parametrizable& target,
                                               const std::string& name) {
  if (target.parametrizations(name) != nullptr) return true;
  // A copy of the module shares its tensors, but registering a name in it leaves the original
  // alone.
  torch::nn::Module copy(target.module());
  if (copy.named_children().contains(name)) return true;
  try {  // LibTorch does not list undefined tensors, but it refuses their names
    copy.register_parameter(name, at::Tensor(), /*requires_grad=*/false);
    copy.register_buffer(name, at::Tensor());
  } catch (const c10::Error&) {
    return true;
  }
  return false;
}

void internal::ParametrizationAccess::append(Parametrizable& target, const std::string& name,
                                             std::shared_ptr<Parametrization> link) {
  if (const auto chain = target.parametrizations(name)) {
    chain->append(std::move(link));
  } else {
    // The tensor moves from the module into the chain, as in Python. The member variable of the
    // module keeps referring to the same object.
    const FoundTensor found = find_tensor(target.module(), name);
    auto created = std::make_shared<ParametrizationList>(found.tensor, found.is_parameter);
    created->train(target.module().is_training());  // LibTorch's modules start in training mode
    created->append(std::move(link));
    erase_tensor(target, name);
    attach(target, name, std::move(created));
  }
  target.parametrization_changed(name);
}

void internal::ParametrizationAccess::attach(Parametrizable& target, const std::string& name,
                                             std::shared_ptr<ParametrizationList> chain) {
  // Registered as children, so that states, devices and modes reach them.
  chains_of(target.module())->register_module(name, chain);
  target.lists_.emplace_back(name, std::move(chain));
}

void internal::ParametrizationAccess::restore(Parametrizable& target, const std::string& name) {
  const auto chain = target.parametrizations(name);
  std::erase_if(target.lists_, [&](const auto& item) { return item.first == name; });
  // Without chains, the module must look as before its first parametrization.
  chains_of(target.module())->unregister_module(name);
  if (target.lists_.empty()) target.module().unregister_module(kChildName);
  insert_tensor(target, name, chain->original(), chain->original_is_parameter());
  target.parametrization_changed(name);
}

void internal::ParametrizationAccess::insert_tensor(Parametrizable& target, const std::string& name,
                                                    const at::Tensor& tensor, bool as_parameter) {
  if (as_parameter) {
    // Not register_parameter, which would set requires_grad.
    target.own_parameters().insert(name, tensor);
  } else {
    target.module().register_buffer(name, tensor);
  }
}

void internal::ParametrizationAccess::erase_tensor(Parametrizable& target,
                                                   const std::string& name) {
  torch::nn::Module& module = target.module();
  if (find_tensor(module, name).is_parameter) return target.own_parameters().erase(name);
  // LibTorch's modules cannot unregister a buffer: the module's own part is made anew without it.
  // The name is passed on, because it is computed from the type otherwise.
  torch::nn::Module rest(module.name());
  rest.train(module.is_training());
  for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
    if (buffer.key() != name) rest.register_buffer(buffer.key(), buffer.value());
  }
  for (const auto& child : module.named_children()) {
    rest.register_module(child.key(), child.value());
  }
  // Moved over as a whole: listing parameters would leave out undefined ones.
  auto parameters = std::move(target.own_parameters());
  module = rest;
  target.own_parameters() = std::move(parameters);
}

void internal::check_evaluation(const at::Tensor& before, Parametrization& link) {
  at::NoGradGuard no_grad;
  const at::Tensor after = link.forward(before);
  TORCH_CHECK_VALUE(after.defined() && after.scalar_type() == before.scalar_type(),
                    "a parametrization may not change the dtype: it made ",
                    after.defined() ? c10::str(after.scalar_type()) : "nothing", " of ",
                    before.scalar_type());
  TORCH_CHECK_VALUE(after.sizes() == before.sizes(),
                    "a parametrization may not change the shape: it made ", after.sizes(), " of ",
                    before.sizes());
}

void internal::adopt_values(const at::Tensor& mask, const at::Tensor& values) {
  mask.set_data(values);
  // set_data does not change the version, so a backward pass that saved the old values would
  // silently use the new ones.
  bump_version(mask);
}

void register_parametrization(torch::nn::Module& module, const std::string& tensor_name,
                              std::shared_ptr<Parametrization> link) {
  Parametrizable& target = parametrizable(module);
  TORCH_CHECK_VALUE(link != nullptr, "the parametrization of '", tensor_name, "' is null");
  // A changed dtype or shape is an error here, and not in the first forward.
  check_evaluation(target.read(tensor_name), *link);
  ParametrizationAccess::append(target, tensor_name, std::move(link));
}

bool is_parametrized(const torch::nn::Module& module) {
  const auto* target = dynamic_cast<const Parametrizable*>(&module);
  return target != nullptr && !target->parametrized_names().empty();
}

bool is_parametrized(const torch::nn::Module& module, std::string_view tensor_name) {
  const auto* target = dynamic_cast<const Parametrizable*>(&module);
  return target != nullptr && target->parametrizations(tensor_name) != nullptr;
}

void remove_parametrizations(torch::nn::Module& module, const std::string& tensor_name,
                             bool leave_parametrized) {
  TORCH_CHECK_VALUE(is_parametrized(module, tensor_name), module.name(),
                    " does not have a parametrization on ", tensor_name);
  auto& target = dynamic_cast<Parametrizable&>(module);
  if (leave_parametrized) {
    // Checked and written first: if either fails, the parametrization is still there.
    const at::NoGradGuard no_grad;
    const auto chain = target.parametrizations(tensor_name);
    check_can_be_written(chain->original(), "'" + tensor_name + "' of " + module.name());
    write_masked_values(*chain);
  }
  ParametrizationAccess::restore(target, tensor_name);
}

void Parametrizable::clone_chains(Parametrizable& to,
                                  const std::optional<at::Device>& device) const {
  for (const std::string& name : parametrized_names()) {
    for (const auto& link : *parametrizations(name)) {
      auto copy = std::dynamic_pointer_cast<Parametrization>(link->clone(device));
      // A user's clone() may return any module.
      TORCH_CHECK(copy != nullptr, "clone() of the parametrization ", link->name(), " on '", name,
                  "' made no parametrization");
      ParametrizationAccess::append(to, name, std::move(copy));
    }
  }
}

void Parametrizable::forget_chains() {
  if (lists_.empty()) return;
  module().unregister_module(kChildName);
  // Moved out first: parametrization_changed must find no chain any more.
  const auto chains = std::exchange(lists_, {});
  for (const auto& [name, chain] : chains) {
    ParametrizationAccess::insert_tensor(*this, name, chain->original(),
                                         chain->original_is_parameter());
    parametrization_changed(name);
  }
}

}  // namespace winnow
