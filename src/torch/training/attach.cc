#include "winnow/torch/training/attach.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/ops/sum.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstdio>
#include <unordered_map>
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
  TORCH_CHECK_VALUE(!options.filter || !found.is_empty(),
                    "the filter takes in none of the parameters ", model.named_parameters().keys());
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

using Parameters = torch::OrderedDict<std::string, at::Tensor>;

bool share_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_same(b) || at::get_overlap_status(a, b) != at::MemOverlapStatus::No;
}

/// The names of the parameters in each storage, in the model's order.
std::vector<std::vector<std::string>> names_by_storage(const Parameters& parameters) {
  std::unordered_map<const void*, size_t> group_of;
  std::vector<std::vector<std::string>> groups;
  for (const auto& item : parameters) {
    if (!item.value().has_storage()) continue;
    const auto [group, added] =
        group_of.emplace(item.value().storage().unsafeGetStorageImpl(), groups.size());
    if (added) groups.emplace_back();
    groups[group->second].push_back(item.key());
  }
  return groups;
}

void check_tied(const std::string& a, const std::string& b, const Parameters& originals,
                const Parameters& copies) {
  if (!share_memory(originals[a], originals[b])) return;
  const bool one_tensor = originals[a].is_same(originals[b]);
  const bool tied = one_tensor ? copies[a].is_same(copies[b]) : copies[a].is_alias_of(copies[b]);
  TORCH_CHECK_VALUE(tied, "the parameters '", a, "' and '", b,
                    "' are tied: the copy has two tensors for them. Pass a copy_model that ties "
                    "them again");
}

void check_copies(const Parameters& originals, const Parameters& copies) {
  TORCH_CHECK_VALUE(copies.size() == originals.size(), "the copy of the model has ", copies.size(),
                    " parameters, the model ", originals.size());
  for (const auto& item : originals) {
    const at::Tensor* tensor = copies.find(item.key());
    TORCH_CHECK_VALUE(tensor != nullptr && tensor->sizes() == item.value().sizes(),
                      "the copy of the model has no parameter '", item.key(), "' of shape ",
                      item.value().sizes());
    TORCH_CHECK_VALUE(!tensor->is_alias_of(item.value()), "the copy of the model shares the '",
                      item.key(), "' of the model");
  }
  for (const std::vector<std::string>& names : names_by_storage(originals)) {
    for (size_t i = 1; i < names.size(); ++i) {
      for (size_t j = 0; j < i; ++j) check_tied(names[j], names[i], originals, copies);
    }
  }
}

/// Puts LibTorch's random generator back when it goes.
class KeptRandomState {
 public:
  KeptRandomState() : state_(random_state()) {}
  ~KeptRandomState() { set_random_state(state_); }
  KeptRandomState(const KeptRandomState&) = delete;
  KeptRandomState& operator=(const KeptRandomState&) = delete;

 private:
  at::Tensor state_;
};

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
  const KeptRandomState kept;  // clone() draws first values for every module, to replace them
  std::shared_ptr<torch::nn::Module> copy = copy_model(model);
  TORCH_CHECK_VALUE(copy != nullptr && copy.get() != &model,
                    "copy_model has to return another module than the model, found ",
                    copy == nullptr ? "null" : "the model itself");
  check_copies(model.named_parameters(), copy->named_parameters());
  return copy;
}

}  // namespace winnow
