// The state of a data sparsifier: what it gives out and what it takes back.
#include <ATen/core/grad_mode.h>

#include "torch/check.h"
#include "torch/data_sparsifier_impl.h"
#include "torch/inference_mode.h"
#include "torch/packed_mask.h"
#include "torch/parametrization_types.h"

namespace winnow {
namespace {

using TensorDict = torch::OrderedDict<std::string, at::Tensor>;

/// The mask in `values` for data of `weight`'s shape.
at::Tensor dense_mask(const std::string& name, const NamedValues& values,
                      const at::Tensor& weight) {
  const at::Tensor unpacked = unpacked_mask(name, values, weight.numel());
  TORCH_CHECK(!unpacked.defined() || !values.contains("mask"), "Error loading ", name,
              ": it has both a packed mask and a 'mask'");
  if (unpacked.defined()) return unpacked;
  WINNOW_CHECK_KEY(values.contains("mask"), "the state of '", name, "' has no 'mask'");
  const auto mask = values.get<at::Tensor>("mask");
  WINNOW_CHECK_ASSERTION(mask.defined(), "the mask of '", name, "' is undefined");
  // Before it is made dense: its size costs nothing in a sparse form.
  WINNOW_CHECK_ASSERTION(mask.numel() <= weight.numel(), "mask shape ", mask.sizes(),
                         " must match x shape ", weight.sizes(), ", of '", name, "'");
  return mask.is_sparse() ? mask.to_dense() : mask.detach().clone();
}

/// What a state_dict holds of one name besides its mask.
NamedValues without_mask(const NamedValues& values) {
  NamedValues rest = values.deep_copy();
  erase_mask(rest);
  return rest;
}

NamedValues mask_values(const at::Tensor& mask, std::optional<MaskFormat> format) {
  if (format == MaskFormat::kPacked) return packed_mask_values(mask);
  const bool sparse = format == MaskFormat::kTorchAo && mask.layout() == at::kStrided;
  return {{"mask", sparse ? mask.to_sparse() : mask.clone()}};
}

/// Copies into the link's own tensors what the container's state has of them.
void load_link(Parametrization& link, const std::string& name, const TensorDict& container) {
  for (const auto& dict : {link.named_parameters(), link.named_buffers()}) {
    for (const auto& item : dict) {
      const at::Tensor* saved = container.find(link_prefix(name) + item.key());
      if (saved == nullptr) continue;
      TORCH_CHECK(saved->sizes() == item.value().sizes(), "Error loading ", name, ": ", item.key(),
                  " of its parametrization has ", item.value().sizes(), ", the state ",
                  saved->sizes());
      item.value().copy_(*saved);
    }
  }
}

/// The tensor of `name` in a container's state, and whether it is masked.
std::pair<const at::Tensor*, bool> stored_tensor(const std::string& name,
                                                 const TensorDict& container) {
  if (const at::Tensor* squashed = container.find(name)) return {squashed, false};
  const at::Tensor* original = container.find(original_key(name));
  TORCH_CHECK(original != nullptr, "Error loading ", name, ": the container has neither '", name,
              "' nor '", original_key(name), "'");
  return {original, true};
}

/// The entry that `values` and `group` describe for `tensor`, checked.
NewEntry entry_for(const std::string& name, const at::Tensor& tensor, bool masked,
                   const NamedValues& values, const NamedValues& group) {
  const at::Tensor mask = dense_mask(name, values, tensor);
  check_mask(mask, tensor);
  NewEntry entry{{tensor, mask, group.deep_copy(), without_mask(values), masked}, false, nullptr};
  if (masked) {
    entry.link = make_link(group, mask);
    check_link(tensor, *entry.link);
  }
  return entry;
}

NewEntry load_entry(const std::string& name, const NamedValues& values, const NamedValues& group,
                    const TensorDict& container) {
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  check_data_name(name);
  const auto [stored, masked] = stored_tensor(name, container);
  TORCH_CHECK(stored->defined(), "Error loading ", name, ": its tensor is undefined");
  NewEntry loaded = entry_for(name, stored->detach().clone(), masked, values, group);
  if (masked) load_link(*loaded.link, name, container);
  return loaded;
}

}  // namespace

BaseDataSparsifier::Impl::Impl(const Impl& other)
    : defaults(other.defaults.deep_copy()),
      fields(other.fields),
      enable_mask_update(other.enable_mask_update),
      step_count(other.step_count) {
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  const TensorDict container = other.container->state();
  for (const auto& item : other.entries) {
    const DataEntry& from = *item.value();
    const at::Tensor tensor = from.tensor.detach().clone();
    NewEntry copy{
        {tensor.set_requires_grad(from.tensor.requires_grad()), from.mask.detach().clone(),
         from.group.deep_copy(), from.state.deep_copy(), from.masked},
        other.container->is_parameter(item.key()),
        nullptr};
    if (from.masked) {
      copy.link = make_link(copy.entry.group, copy.entry.mask);
      load_link(*copy.link, item.key(), container);
    }
    insert(item.key(), std::move(copy));
  }
}

DataSparsifierState BaseDataSparsifier::Impl::state_dict(
    bool clone, std::optional<MaskFormat> mask_format) const {
  at::NoGradGuard no_grad;
  DataSparsifierState dict;
  for (const auto& item : entries) {
    const DataEntry& entry = *item.value();
    NamedValues values = mask_values(entry.mask, mask_format);
    check_no_mask_names(item.key(), entry.state);
    values.update(entry.state.deep_copy());
    dict.state.insert(item.key(), std::move(values));
    dict.data_groups.insert(item.key(), entry.group.deep_copy());
  }
  dict.container = container->state();
  if (clone) {
    for (auto& item : dict.container) item.value() = item.value().clone();
  }
  return dict;
}

void BaseDataSparsifier::Impl::check_complete(const std::string& what,
                                              const NamedValues& config) const {
  for (const ConfigField& field : fields) {
    TORCH_CHECK(config.contains(field.name), "Error loading ", what, ": it has no '", field.name,
                "'; was it saved by a sparsifier of another class?");
  }
}

void BaseDataSparsifier::Impl::check_group(const std::string& name,
                                           const NamedValues& group) const {
  check_complete("the data group of " + name, group);
  for (const auto& entry : group) check_value(entry.name, entry.value);
}

NewEntries BaseDataSparsifier::Impl::entries_of(const DataSparsifierState& state,
                                                bool strict) const {
  for (const auto& item : state.data_groups) {
    TORCH_CHECK(!strict || state.state.contains(item.key()), "Error loading ", item.key(),
                ": it has a data group and no state");
  }
  NewEntries loaded;
  for (const auto& item : state.state) {
    const std::string& name = item.key();
    if (!strict && entries.contains(name)) continue;
    const NamedValues* group = state.data_groups.find(name);
    TORCH_CHECK(group != nullptr, "Error loading ", name, ": it has a state and no data group");
    check_group(name, *group);
    loaded.emplace_back(name, load_entry(name, item.value(), *group, state.container));
  }
  return loaded;
}

DataSparsifierState BaseDataSparsifier::state_dict(const StateDictOptions& options) const {
  return impl_->state_dict(options.clone, options.mask_format);
}

void BaseDataSparsifier::Impl::adopt(NewEntries loaded, bool strict) {
  auto kept = std::move(entries);  // they come after the loaded ones, as upstream has it
  entries = decltype(entries){"data"};
  if (strict) {
    kept = decltype(kept){"data"};
    container = std::make_shared<DataContainer>();
  }
  for (auto& [name, entry] : loaded) insert(name, std::move(entry));
  for (auto& item : kept) entries.insert(item.key(), item.value());
}

void BaseDataSparsifier::load_state_dict(const DataSparsifierState& state, bool strict) {
  NewEntries loaded = impl_->entries_of(state, strict);
  for (const auto& [name, entry] : loaded) check_data(name, entry.entry.tensor);
  impl_->adopt(std::move(loaded), strict);
}

NewEntries BaseDataSparsifier::Impl::entries_with_masks_of(const DataSparsifierState& state) const {
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  for (const auto& item : state.state) {
    TORCH_CHECK(entries.contains(item.key()), "Error loading ", item.key(),
                ": there is no data of that name");
  }
  const TensorDict tensors = container->state();  // with those of the links, which stay
  NewEntries loaded;
  for (const auto& item : entries) {
    const std::string& name = item.key();
    const NamedValues* values = state.state.find(name);
    const NamedValues* group = state.data_groups.find(name);
    TORCH_CHECK(values != nullptr && group != nullptr, "Error loading ", name,
                ": the state does not have it");
    check_group(name, *group);
    NewEntry entry = entry_for(name, item.value()->tensor, item.value()->masked, *values, *group);
    entry.as_parameter = container->is_parameter(name);
    if (entry.link != nullptr) load_link(*entry.link, name, tensors);
    loaded.emplace_back(name, std::move(entry));
  }
  return loaded;
}

void BaseDataSparsifier::load_masks(const DataSparsifierState& state) {
  impl_->adopt(impl_->entries_with_masks_of(state), /*strict=*/true);
}

DataSparsifierSnapshot BaseDataSparsifier::getstate() const {
  DataSparsifierSnapshot snapshot;
  static_cast<DataSparsifierState&>(snapshot) =
      impl_->state_dict(/*clone=*/true, MaskFormat::kTorchAo);
  snapshot.defaults = impl_->defaults.deep_copy();
  snapshot.enable_mask_update = impl_->enable_mask_update;
  snapshot.fields = fields();
  return snapshot;
}

void BaseDataSparsifier::setstate(const DataSparsifierSnapshot& snapshot) {
  impl_->check_complete("the defaults", snapshot.defaults);
  for (const auto& entry : snapshot.defaults) impl_->check_value(entry.name, entry.value);
  NamedValues defaults = snapshot.defaults.deep_copy();
  NewEntries loaded = impl_->entries_of(snapshot, /*strict=*/true);
  for (const auto& [name, entry] : loaded) check_data(name, entry.entry.tensor);
  set_fields(snapshot.fields);  // the last that may throw
  impl_->adopt(std::move(loaded), /*strict=*/true);
  impl_->defaults = std::move(defaults);
  impl_->enable_mask_update = snapshot.enable_mask_update.value_or(true);
}

}  // namespace winnow
