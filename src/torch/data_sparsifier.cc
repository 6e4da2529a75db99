#include "winnow/torch/data_sparsifier.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "base/edit_distance.h"
#include "torch/check.h"
#include "torch/class_name.h"
#include "torch/data_sparsifier_impl.h"
#include "torch/data_weight.h"
#include "torch/inference_mode.h"
#include "torch/parametrization_access.h"
#include "torch/parametrization_types.h"

namespace winnow {
namespace {

constexpr size_t kNearName = 2;  // edit distance up to which a name is taken for a misspelt one

at::Tensor ones_for(const at::Tensor& weight) {
  at::NoGradGuard no_grad;
  return at::ones_like(weight).set_requires_grad(false);
}

/// The mask that a configuration brings, or ones.
at::Tensor mask_in(const NamedValues& config, const at::Tensor& weight) {
  return config.contains("mask") ? config.get<at::Tensor>("mask") : ones_for(weight);
}

const at::Tensor& kept_mask(const DataEntry& old, const std::string& name,
                            const at::Tensor& weight) {
  WINNOW_CHECK_ASSERTION(old.tensor.sizes() == weight.sizes(),
                         "to retain the old mask, the shape of the new data must be the same: '",
                         name, "' has ", old.tensor.sizes(), ", the new data ", weight.sizes(),
                         ". Pass reuse_mask = false to start with a new mask");
  return old.mask;
}

void warn_if_misspelt(const std::string& key, const NamedValues& declared) {
  for (const auto& field : declared) {
    if (edit_distance(field.name, key) <= kNearName) {
      TORCH_WARN("'", key,
                 "' is kept and handed to update_mask, but nobody declared it. Did you mean '",
                 field.name, "'?");
      return;
    }
  }
}

}  // namespace

void check_data_name(const std::string& name) {
  WINNOW_CHECK_KEY(!name.empty(), "the name of data can't be empty");
  WINNOW_CHECK_KEY(name.find('.') == std::string::npos, "the name of data can't contain \".\": '",
                   name, "'. Replace the dots, by \"_\" for example");
  WINNOW_CHECK_KEY(name != "parametrizations",
                   "the name 'parametrizations' already exists: the container needs it for itself");
}

DataEntry& BaseDataSparsifier::Impl::entry(const std::string& name) {
  const auto* found = entries.find(name);
  TORCH_CHECK_VALUE(found != nullptr, "data with specified name does not exist: '", name, "'");
  return **found;
}

void BaseDataSparsifier::Impl::check_value(const std::string& key, const c10::IValue& value) const {
  const auto field = std::ranges::find(fields, key, &ConfigField::name);
  if (field != fields.end()) field->check(value);
  TORCH_CHECK_TYPE(key != "mask" || value.isTensor(), "'mask' must be a tensor, got ",
                   to_text(value));
}

void BaseDataSparsifier::Impl::check_config(const NamedValues& config) const {
  for (const auto& entry : config) {
    check_value(entry.name, entry.value);
    const bool known =
        entry.name == "mask" || entry.name == "parametrization" || defaults.contains(entry.name);
    if (!known) warn_if_misspelt(entry.name, defaults);
  }
}

NewEntry BaseDataSparsifier::Impl::new_entry(const std::string& name, const at::Tensor& weight,
                                             const DataEntry* old,
                                             const AddDataOptions& options) const {
  const OutOfInferenceMode normal;
  NewEntry added;
  DataEntry& entry = added.entry;
  entry.tensor = weight;
  // The configuration of the old data carries over, but a fresh mask is never taken from it.
  NamedValues given = defaults.deep_copy();
  given.update(options.config);
  entry.group = given;
  if (old != nullptr) {
    entry.group = old->group.deep_copy();
    entry.group.update(options.config);
  }
  entry.mask =
      old != nullptr && options.reuse_mask ? kept_mask(*old, name, weight) : mask_in(given, weight);
  check_mask(entry.mask, weight);
  for (const auto& item : entries) {
    TORCH_CHECK_VALUE(item.key() == name || !item.value()->mask.is_same(entry.mask),
                      "the mask of '", name, "' is that of '", item.key(),
                      "' already; pass a clone of it");
  }
  added.link = make_link(entry.group, entry.mask);
  check_link(weight, *added.link);
  return added;
}

void BaseDataSparsifier::Impl::insert(const std::string& name, NewEntry added) {
  container->add(name, added.entry.tensor, added.as_parameter, std::move(added.link));
  entries.insert(name, std::make_shared<DataEntry>(std::move(added.entry)));
}

void BaseDataSparsifier::Impl::erase(const std::string& name) {
  container->remove(name);
  entries.erase(name);
}

BaseDataSparsifier::BaseDataSparsifier(NamedValues defaults, std::vector<ConfigField> fields)
    : impl_(std::make_shared<Impl>()) {
  impl_->defaults = std::move(defaults);
  impl_->fields = std::move(fields);
  for (const auto& entry : impl_->defaults) impl_->check_value(entry.name, entry.value);
}

BaseDataSparsifier::BaseDataSparsifier(DeepCopyOf other)
    : impl_(std::make_shared<Impl>(*other.sparsifier.impl_)) {}

BaseDataSparsifier::~BaseDataSparsifier() = default;

at::Tensor BaseDataSparsifier::add_data(const std::string& name, const Data& data,
                                        const AddDataOptions& options) {
  check_data_name(name);
  const DataWeight weight = weight_of(data);
  const auto* found = impl_->entries.find(name);
  const DataEntry* old = found == nullptr ? nullptr : found->get();
  if (old != nullptr && !options.replace) {
    TORCH_WARN_ONCE("Replacing existing data of the same name. - Did you mean a different name? ('",
                    name, "')");
  }
  impl_->check_config(options.config);
  NewEntry added = impl_->new_entry(name, weight.tensor, old, options);
  added.as_parameter = options.as_parameter.value_or(weight.is_parameter);
  check_data(name, weight.tensor);
  at::Tensor read = added.link->forward(weight.tensor);  // before anything changes: it may throw

  if (old != nullptr) impl_->erase(name);
  impl_->insert(name, std::move(added));
  return read;
}

void BaseDataSparsifier::step() {
  ++impl_->step_count;
  if (!impl_->enable_mask_update) return;
  for (const auto& item : impl_->entries) {
    TORCH_CHECK_VALUE(item.value()->masked, "mask squashed - '", item.key(),
                      "' cannot be stepped any more; add its data again");
  }
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  update_masks();
}

void BaseDataSparsifier::update_masks() {
  // By name and with a copy, because update_mask may add and replace data.
  for (const std::string& name : names()) {
    const NamedValues config = impl_->entry(name).group;
    update_mask(name, get_data(name), config);
  }
}

void BaseDataSparsifier::check_data(const std::string&, const at::Tensor&) const {}

at::Tensor BaseDataSparsifier::get_mask(const std::string& name) const {
  return impl_->entry(name).mask;
}

at::Tensor BaseDataSparsifier::get_data(const std::string& name, bool return_original) const {
  const DataEntry& entry = impl_->entry(name);
  if (!return_original) return impl_->container->read(name);
  TORCH_CHECK_VALUE(entry.masked, "mask squashed - original mask value does not exist for '", name,
                    "'");
  return entry.tensor;
}

void BaseDataSparsifier::squash_mask(const std::vector<std::string>& names,
                                     bool leave_parametrized) {
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const auto* entry = impl_->entries.find(name);
    TORCH_CHECK_VALUE(entry != nullptr && (*entry)->masked && seen.insert(name).second,
                      "the container does not have a parametrization on ", name);
    if (!leave_parametrized) continue;
    check_mask((*entry)->mask, (*entry)->tensor);
    check_link((*entry)->tensor, *(*impl_->container->parametrizations(name))[0]);
  }
  for (const std::string& name : names) {
    DataEntry& entry = impl_->entry(name);
    // Read now: an earlier name may stand for the same tensor.
    if (leave_parametrized) adopt_values(entry.tensor, impl_->container->read(name));
    impl_->container->unmask(name);
    entry.masked = false;
  }
}

std::vector<std::string> BaseDataSparsifier::names() const { return impl_->entries.keys(); }

bool BaseDataSparsifier::contains(const std::string& name) const {
  return impl_->entries.contains(name);
}

bool BaseDataSparsifier::is_parametrized(const std::string& name) const {
  return impl_->entry(name).masked;
}

const NamedValues& BaseDataSparsifier::data_group(const std::string& name) const {
  return impl_->entry(name).group;
}

void BaseDataSparsifier::set_config(const std::string& name, const std::string& key,
                                    c10::IValue value) {
  NamedValues& group = impl_->entry(name).group;
  TORCH_CHECK_VALUE(key != "mask" && key != "parametrization", "'", key, "' of '", name,
                    "' can only be given to add_data");
  impl_->check_config({{key, value}});
  group.set(key, std::move(value));
}

void BaseDataSparsifier::set_config(const std::string& name, const std::string& key,
                                    std::initializer_list<int64_t> integers) {
  NamedValues tuple;
  tuple.set(key, integers);
  set_config(name, key, tuple.at(key));
}

NamedValues& BaseDataSparsifier::state(const std::string& name) { return impl_->entry(name).state; }

const NamedValues& BaseDataSparsifier::defaults() const noexcept { return impl_->defaults; }

bool BaseDataSparsifier::enable_mask_update() const noexcept { return impl_->enable_mask_update; }

void BaseDataSparsifier::set_enable_mask_update(bool enable) noexcept {
  impl_->enable_mask_update = enable;
}

int64_t BaseDataSparsifier::step_count() const noexcept { return impl_->step_count; }

std::shared_ptr<const torch::nn::Module> BaseDataSparsifier::container() const {
  return impl_->container;
}

std::string BaseDataSparsifier::text() const {
  std::string text = class_name(typeid(*this)) + " (";
  for (const auto& item : impl_->entries) {
    text += "\n\tData Group\n\t    name: " + item.key() + "\n";
    std::vector<const NamedValues::Entry*> sorted;
    for (const auto& entry : item.value()->group) {
      if (entry.name != "data") sorted.push_back(&entry);
    }
    std::ranges::sort(sorted, {}, [](const auto* entry) { return entry->name; });
    for (const auto* entry : sorted) {
      text += "\t    " + entry->name + ": " + to_text(entry->value) + "\n";
    }
  }
  return text + ")";
}

std::ostream& operator<<(std::ostream& stream, const BaseDataSparsifier& sparsifier) {
  return stream << sparsifier.text();
}

}  // namespace winnow
