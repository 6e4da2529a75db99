#include "winnow/torch/training/attach.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/ops/sum.h>
#include <c10/util/Exception.h>
#include <c10/util/ScopeExit.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstdio>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "torch/support/dtype_map.h"
#include "torch/training/checked_copy.h"
#include "torch/training/random_state.h"
#include "winnow/core/default_selection.h"

namespace winnow {
using namespace internal;

namespace {

/// A parameter and all of its names; the first is the one that is used.
struct NamedParameter {
  std::vector<std::string> fqns;
  at::Tensor tensor;
};

// named_parameters lists a shared parameter once for each of its names.
std::vector<NamedParameter> parameters_with_all_names(const torch::nn::Module& model) {
  std::vector<NamedParameter> distinct;
  std::unordered_map<const at::TensorImpl*, size_t> places;
  for (const auto& item : model.named_parameters()) {
    const auto [place, added] = places.emplace(item.value().unsafeGetTensorImpl(), distinct.size());
    if (added) distinct.push_back({{}, item.value()});
    distinct[place->second].fqns.push_back(item.key());
  }
  return distinct;
}

/// Returns true if the filter accepts the parameter. It must give the same answer for all names,
/// since which one is the first depends only on the order of registration.
bool takes_in(const ParameterFilter& filter, const NamedParameter& parameter) {
  if (!filter) return true;
  const std::string& first = parameter.fqns.front();
  const bool takes = filter(first, parameter.tensor);
  for (size_t i = 1; i < parameter.fqns.size(); ++i) {
    TORCH_CHECK_VALUE(filter(parameter.fqns[i], parameter.tensor) == takes, "'", first, "' and '",
                      parameter.fqns[i], "' are one parameter, and the filter takes in the ",
                      takes ? "first" : "second", " only: let it say the same of both");
  }
  return takes;
}

/// The parameters to add, by the valid name of their first name.
using Attachments = torch::OrderedDict<std::string, NamedParameter>;

Attachments attachments(const torch::nn::Module& model, const AttachOptions& options) {
  Attachments found;
  for (NamedParameter& parameter : parameters_with_all_names(model)) {
    if (!takes_in(options.filter, parameter)) continue;
    const std::string& fqn = parameter.fqns.front();
    const std::string name = valid_name(fqn);
    // valid_name is not injective: `a.b` and `a_b` become the same.
    if (const auto* other = found.find(name)) {
      TORCH_CHECK_VALUE(false, "the parameters '", other->fqns.front(), "' and '", fqn,
                        "' both become '", name, "'; leave one out by the filter, or rename it");
    }
    found.insert(name, std::move(parameter));
  }
  const std::vector<std::string> all = model.named_parameters().keys();
  TORCH_CHECK_VALUE(!all.empty(), model.name(), " has no parameter that could be sparsified");
  TORCH_CHECK_VALUE(!found.is_empty(), "the filter takes in none of the parameters ", all);
  return found;
}

/// Returns the configuration of each parameter, by the valid name of its first name. The options
/// may use any of its names.
torch::OrderedDict<std::string, NamedValues> configurations(const Attachments& found,
                                                            const AttachOptions& options) {
  torch::OrderedDict<std::string, NamedValues> configs;
  std::unordered_map<std::string, std::string> first_names;
  // emplace keeps the first of two names that become the same.
  for (const auto& item : found) {
    for (const std::string& fqn : item.value().fqns)
      first_names.emplace(valid_name(fqn), item.key());
  }
  for (const auto& item : options.config) {
    const auto first = first_names.find(item.key());
    TORCH_CHECK_VALUE(first != first_names.end(),
                      "config: no parameter that is attached is called '", item.key(),
                      "'; names have '_' where the model's have '.'");
    TORCH_CHECK_VALUE(!configs.contains(first->second), "config: '", item.key(),
                      "' is another name of '", first->second, "', which has a configuration too");
    configs.insert(first->second, item.value());
  }
  return configs;
}

constexpr size_t kNamedInWarning = 3;

/// Upstream attaches every parameter, including norms and biases, which users rarely want.
void warn_of_no_filter(const torch::nn::Module& model) {
  const std::vector<LeftAloneParameter> left = left_alone(model);
  if (left.empty()) return;
  std::string named;
  for (size_t i = 0; i < std::min(left.size(), kNamedInWarning); ++i) {
    named += c10::str(i == 0 ? "" : ", ", "'", left[i].fqn, "' (", left[i].reason, ")");
  }
  if (left.size() > kNamedInWarning) named += ", ...";
  TORCH_WARN(
      "without a filter all parameters are sparsified, ", left.size(),
      " of them such as are better left alone: ", named,
      ". default_filter(model) leaves them out; a filter of your own says that they are meant");
}

double dropped_share(const at::Tensor& mask) {
  if (mask.numel() == 0) return 0;
  // Summed as F64, because F32 cannot count beyond 2^24.
  return 1 - at::sum(mask, at::kDouble).item<double>() / static_cast<double>(mask.numel());
}

using Parameters = torch::OrderedDict<std::string, at::Tensor>;

// Overlap, and not only the same storage: all parameters may be views of one flat buffer.
bool share_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_same(b) || at::get_overlap_status(a, b) != at::MemOverlapStatus::No;
}

/// Returns the names of the parameters in each storage, in the model's order. Only those of one
/// storage can be tied, so not all pairs of parameters need to be compared.
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
  // One tensor object with two names must stay one; overlapping views only have to share memory.
  const bool one_tensor = originals[a].is_same(originals[b]);
  const bool tied = one_tensor ? copies[a].is_same(copies[b]) : copies[a].is_alias_of(copies[b]);
  TORCH_CHECK_VALUE(tied, "the parameters '", a, "' and '", b,
                    "' are tied: the copy has two tensors for them. Pass a copy_model that ties "
                    "them again");
}

void check_copies(const Parameters& originals, const Parameters& copies) {
  // Compared by names and shapes: values may differ, as after a conversion.
  TORCH_CHECK_VALUE(copies.size() == originals.size(), "the copy of the model has ", copies.size(),
                    " parameters, the model ", originals.size());
  for (const auto& item : originals) {
    const at::Tensor* tensor = copies.find(item.key());
    TORCH_CHECK_VALUE(tensor != nullptr && tensor->sizes() == item.value().sizes(),
                      "the copy of the model has no parameter '", item.key(), "' of shape ",
                      item.value().sizes());
    // Squashing a copy that shares memory would prune the model itself.
    TORCH_CHECK_VALUE(!tensor->is_alias_of(item.value()), "the copy of the model shares the '",
                      item.key(), "' of the model");
  }
  for (const std::vector<std::string>& names : names_by_storage(originals)) {
    for (size_t i = 1; i < names.size(); ++i) {
      for (size_t j = 0; j < i; ++j) check_tied(names[j], names[i], originals, copies);
    }
  }
}

/// The rule treats dtypes that files cannot have, such as quantized ones, as codes, like bytes.
DType rule_dtype(c10::ScalarType type) { return dtype_of(type).value_or(DType::kU8); }

}  // namespace

std::string valid_name(const std::string& fqn) {
  std::string name = fqn;
  std::ranges::replace(name, '.', '_');
  return name;
}

std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(
    const torch::nn::Module& model) {
  std::vector<std::pair<std::string, at::Tensor>> distinct;
  for (const NamedParameter& parameter : parameters_with_all_names(model)) {
    distinct.emplace_back(parameter.fqns.front(), parameter.tensor);
  }
  return distinct;
}

std::vector<LeftAloneParameter> left_alone(const torch::nn::Module& model) {
  const auto parameters = model.named_parameters();
  auto tensors = parameters.pairs();
  for (const auto& item : model.named_buffers()) tensors.push_back(item.pair());
  std::vector<std::vector<uint64_t>> shapes;
  shapes.reserve(tensors.size());  // facts refer to them
  std::vector<TensorFacts> facts;
  for (const auto& [name, tensor] : tensors) {
    const at::IntArrayRef sizes = tensor.sizes();
    const auto& shape = shapes.emplace_back(sizes.begin(), sizes.end());
    facts.push_back({name, rule_dtype(tensor.scalar_type()), shape});
  }
  // A tensor that the rule leaves alone under one of its names, which may be that of a buffer, is
  // left alone under all of them.
  const std::vector<DefaultChoice> choices = default_selection(facts);
  std::unordered_map<const at::TensorImpl*, LeftAlone> reasons;
  for (size_t i = 0; i < choices.size(); ++i) {
    const auto& reason = choices[i].in_training;
    if (reason) reasons.emplace(tensors[i].second.unsafeGetTensorImpl(), *reason);
  }
  std::vector<LeftAloneParameter> left;
  for (const auto& item : parameters) {
    const auto reason = reasons.find(item.value().unsafeGetTensorImpl());
    if (reason == reasons.end()) continue;
    left.push_back({item.key(), std::string(left_alone_text(reason->second))});
  }
  return left;
}

ParameterFilter default_filter(const torch::nn::Module& model) {
  std::unordered_set<std::string> left;
  for (LeftAloneParameter& parameter : left_alone(model)) left.insert(std::move(parameter.fqn));
  return [left = std::move(left)](const std::string& fqn, const at::Tensor&) {
    return !left.contains(fqn);
  };
}

void attach_model(const torch::nn::Module& module, BaseDataSparsifier& sparsifier,
                  const AttachOptions& options) {
  const Attachments found = attachments(module, options);
  const auto configs = configurations(found, options);
  if (!options.filter && !options.replace) warn_of_no_filter(module);
  for (const auto& item : found) {
    // as_parameter, because a frozen parameter does not require grad but is one all the same.
    const NamedValues* config = configs.find(item.key());
    sparsifier.add_data(item.key(), item.value().tensor,
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
    // The filter left it out, so it has no level to report.
    if (!sparsifier.contains(name)) continue;
    levels.push_back({fqn, dropped_share(sparsifier.get_mask(name))});
  }
  return levels;
}

std::string to_text(const SparsityLevel& level) {
  char percent[32];
  // Two decimals, as upstream logs them.
  std::snprintf(percent, sizeof percent, "%.2f%%", 100 * level.level);
  return "Sparsity in layer " + level.fqn + " = " + percent;
}

std::shared_ptr<torch::nn::Module> clone_model(const torch::nn::Module& model) {
  return checked_copy(model, [](const torch::nn::Module& module) { return module.clone(); });
}

std::shared_ptr<torch::nn::Module> internal::checked_copy(const torch::nn::Module& model,
                                                          const CopyModel& copy_model) {
  // clone() draws first values for every module, although it replaces them.
  const auto restore = c10::make_scope_exit([state = random_state()] { set_random_state(state); });
  std::shared_ptr<torch::nn::Module> copy = copy_model(model);
  TORCH_CHECK_VALUE(copy != nullptr && copy.get() != &model,
                    "copy_model has to return another module than the model, found ",
                    copy == nullptr ? "null" : "the model itself");
  check_copies(model.named_parameters(), copy->named_parameters());
  return copy;
}

}  // namespace winnow
