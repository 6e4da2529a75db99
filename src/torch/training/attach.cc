#include "winnow/torch/training/attach.h"

#include <ATen/ops/sum.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "torch/training/model_copy.h"
#include "torch/training/random_state.h"

namespace winnow {
namespace {

/// Of every parameter once, by its first name.
std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(
    const torch::nn::Module& model) {
  std::vector<std::pair<std::string, at::Tensor>> distinct;
  std::unordered_set<const at::TensorImpl*> seen;
  for (const auto& item : model.named_parameters()) {
    if (!seen.insert(item.value().unsafeGetTensorImpl()).second) continue;
    distinct.emplace_back(item.key(), item.value());
  }
  return distinct;
}

using Attachments = torch::OrderedDict<std::string, std::pair<std::string, at::Tensor>>;

/// By valid name: the parameters to add, with their names.
Attachments attachments(const torch::nn::Module& model, const AttachOptions& options) {
  Attachments found;
  for (auto& [fqn, parameter] : distinct_parameters(model)) {
    if (options.filter && !options.filter(fqn, parameter)) continue;
    const std::string name = valid_name(fqn);
    if (const auto* other = found.find(name)) {
      TORCH_CHECK_VALUE(false, "the parameters '", other->first, "' and '", fqn, "' both become '",
                        name, "'; leave one out by the filter, or rename it");
    }
    found.insert(name, {fqn, parameter});
  }
  for (const auto& item : options.config) {
    TORCH_CHECK_VALUE(found.contains(item.key()),
                      "config: no parameter that is attached is called '", item.key(),
                      "'; names have '_' where the model's have '.'");
  }
  return found;
}

double dropped_share(const at::Tensor& mask) {
  if (mask.numel() == 0) return 0;
  return 1 - at::sum(mask, at::kDouble).item<double>() / static_cast<double>(mask.numel());
}

/// The names of each parameter, in the model's order.
std::vector<std::vector<std::string>> names_of_parameters(const torch::nn::Module& model) {
  torch::OrderedDict<std::string, at::Tensor> parameters = model.named_parameters();
  std::vector<std::vector<std::string>> groups;
  std::unordered_map<const at::TensorImpl*, size_t> group_of;
  for (const auto& item : parameters) {
    const auto [found, added] = group_of.emplace(item.value().unsafeGetTensorImpl(), groups.size());
    if (added) groups.emplace_back();
    groups[found->second].push_back(item.key());
  }
  return groups;
}

}  // namespace

std::string valid_name(const std::string& fqn) {
  std::string name = fqn;
  std::ranges::replace(name, '.', '_');
  return name;
}

void attach_model(const torch::nn::Module& module, BaseDataSparsifier& sparsifier,
                  const AttachOptions& options) {
  for (const auto& item : attachments(module, options)) {
    const NamedValues* config = options.config.find(item.key());
    sparsifier.add_data(item.key(), item.value().second,
                        {.config = config != nullptr ? *config : NamedValues(),
                         .replace = options.replace,
                         .as_parameter = true});
  }
}

std::vector<SparsityLevel> sparsity_levels(const torch::nn::Module& model,
                                           const BaseDataSparsifier& sparsifier) {
  std::vector<SparsityLevel> levels;
  for (const auto& [fqn, parameter] : distinct_parameters(model)) {
    const std::string name = valid_name(fqn);
    if (!sparsifier.contains(name)) continue;
    levels.push_back({fqn, dropped_share(sparsifier.get_mask(name))});
  }
  return levels;
}

std::string to_text(const SparsityLevel& level) {
  char percent[32];
  std::snprintf(percent, sizeof percent, "%.2f%%", 100 * level.level);
  return "Sparsity in layer " + level.fqn + " = " + percent;
}

std::shared_ptr<torch::nn::Module> clone_model(const torch::nn::Module& model) {
  return checked_copy(model, [](const torch::nn::Module& module) { return module.clone(); });
}

std::shared_ptr<torch::nn::Module> checked_copy(const torch::nn::Module& model,
                                                const CopyModel& copy_model) {
  // clone() draws first values for every module, only to replace them.
  const at::Tensor random = random_state();
  std::shared_ptr<torch::nn::Module> copy = copy_model(model);
  set_random_state(random);
  TORCH_CHECK_VALUE(copy != nullptr && copy.get() != &model,
                    "copy_model has to return another module than the model, found ",
                    copy == nullptr ? "null" : "the model itself");
  const auto originals = model.named_parameters();
  const auto copies = copy->named_parameters();
  for (const std::vector<std::string>& names : names_of_parameters(model)) {
    const at::Tensor* first = copies.find(names.front());
    for (const std::string& name : names) {
      const at::Tensor* tensor = copies.find(name);
      TORCH_CHECK_VALUE(tensor != nullptr && tensor->sizes() == originals[name].sizes(),
                        "the copy of the model has no parameter '", name, "' of shape ",
                        originals[name].sizes());
      TORCH_CHECK_VALUE(!tensor->is_alias_of(originals[name]), "the copy of the model shares the '",
                        name, "' of the model");
      TORCH_CHECK_VALUE(
          tensor->is_same(*first), "the parameters '", names.front(), "' and '", name,
          "' are tied: the copy has two tensors for them. Pass a copy_model that ties "
          "them again");
    }
  }
  return copy;
}

}  // namespace winnow
