// Saving and loading the state of a data sparsifier. Every load builds complete, checked entries
// first and then replaces the old ones in a step that cannot fail.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/result_type.h>

#include "torch/parametrize/parametrization_types.h"
#include "torch/sparsifier/data_sparsifier_impl.h"
#include "torch/sparsifier/packed_mask.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "torch/support/tensor_memory.h"

namespace winnow {
using namespace internal;

namespace {

/// The dense mask in `values` for data of `weight`'s shape.
at::Tensor dense_mask(const std::string& name, const NamedValues& values,
                      const at::Tensor& weight) {
  const at::Tensor unpacked = unpacked_mask(name, values, weight.numel());
  TORCH_CHECK(!unpacked.defined() || !values.contains("mask"), "Error loading ", name,
              ": it has both a packed mask and a 'mask'");
  if (unpacked.defined()) return unpacked;
  WINNOW_CHECK_KEY(values.contains("mask"), "the state of '", name, "' has no 'mask'");
  const auto mask = values.get<at::Tensor>("mask");
  WINNOW_CHECK_ASSERTION(mask.defined(), "the mask of '", name, "' is undefined");
  // Check the size before making it dense: a small file can hold a sparse mask of any size.
  WINNOW_CHECK_ASSERTION(mask.numel() <= weight.numel(), "mask shape ", mask.sizes(),
                         " must match x shape ", weight.sizes(), ", of '", name, "'");
  return mask.is_sparse() ? mask.to_dense() : mask.detach().clone();
}

/// Returns `mask` in the data's dtype if it would otherwise promote the data and the conversion is
/// lossless. This happens if the data were converted after the mask was made.
at::Tensor fitting_mask(const at::Tensor& mask, const at::Tensor& data) {
  if (at::result_type(mask, data) == data.scalar_type()) return mask;
  // Back and forth, to be sure that no value is rounded.
  const at::Tensor fitting = mask.to(data.scalar_type());
  return fitting.to(mask.scalar_type()).equal(mask) ? fitting : mask;
}

/// What a state has for one name besides its mask.
NamedValues without_mask(const NamedValues& values) {
  NamedValues rest = values;
  erase_mask(rest);  // before the deep copy, because masks are large
  return rest.deep_copy();
}

NamedValues mask_values(const at::Tensor& mask, std::optional<MaskFormat> format) {
  if (format == MaskFormat::kPacked) return packed_mask_values(mask);
  const bool sparse = format == MaskFormat::kTorchAo && mask.layout() == at::kStrided;
  return {{"mask", sparse ? mask.to_sparse() : mask.clone()}};
}

/// The key of a masked tensor's original in a container's state, as upstream names it.
std::string original_key(const std::string& name) {
  return "parametrizations." + name + ".original";
}

/// The prefix of the keys of its link's own tensors.
std::string link_prefix(const std::string& name) { return "parametrizations." + name + ".0."; }

/// Copies the tensors that the container's state has for a link into the link.
void load_link(Parametrization& link, const std::string& name, const TensorDict& container) {
  for (const auto& dict : {link.named_parameters(), link.named_buffers()}) {
    for (const auto& item : dict) {
      const at::Tensor* saved = container.find(link_prefix(name) + item.key());
      // FakeSparsity saves nothing, and its mask is in the state already.
      if (saved == nullptr) continue;
      TORCH_CHECK(saved->sizes() == item.value().sizes(), "Error loading ", name, ": ", item.key(),
                  " of its parametrization has ", item.value().sizes(), ", the state ",
                  saved->sizes());
      item.value().copy_(*saved);
    }
  }
}

/// Finds the tensor of `name` in a container's state. The second value is true if it is masked:
/// upstream stores a squashed tensor under its plain name.
std::pair<const at::Tensor*, bool> stored_tensor(const std::string& name,
                                                 const TensorDict& container) {
  if (const at::Tensor* squashed = container.find(name)) return {squashed, false};
  const at::Tensor* original = container.find(original_key(name));
  TORCH_CHECK(original != nullptr, "Error loading ", name, ": the container has neither '", name,
              "' nor '", original_key(name), "'");
  return {original, true};
}

/// Copies a mask. An initial mask keeps sharing a single value, so the copy costs no memory.
at::Tensor copy_of_mask(const at::Tensor& mask) {
  if (!is_one_value(mask)) return mask.detach().clone();
  return mask.as_strided({}, {}).detach().clone().expand(mask.sizes());
}

/// Returns true if the two configurations name different types of parametrization.
bool changes_link(const NamedValues& from, const NamedValues& to) {
  const c10::IValue *a = from.find("parametrization"), *b = to.find("parametrization");
  return (a == nullptr) != (b == nullptr) || (a != nullptr && to_text(*a) != to_text(*b));
}

/// Makes the checked entry for `tensor` from `values` and `group`.
DataEntry entry_for(const std::string& name, const at::Tensor& tensor, bool masked,
                    bool as_parameter, const NamedValues& values, const NamedValues& group) {
  DataEntry entry;
  entry.tensor = tensor;
  entry.mask = dense_mask(name, values, tensor);
  check_mask(entry.mask, tensor);
  entry.mask = fitting_mask(entry.mask, tensor);
  entry.group = group.deep_copy();
  entry.state = without_mask(values);
  entry.as_parameter = as_parameter;
  if (masked) {
    auto link = make_link(group, entry.mask);
    // Last of the checks, because it may have to run a user's forward.
    check_link(tensor, *link);
    entry.chain = chain_of(tensor, as_parameter, std::move(link));
  }
  return entry;
}

DataEntry load_entry(const std::string& name, const NamedValues& values, const NamedValues& group,
                     const TensorDict& container) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  check_data_name(name);
  const auto [stored, masked] = stored_tensor(name, container);
  TORCH_CHECK(stored->defined(), "Error loading ", name, ": its tensor is undefined");
  check_is_dense(*stored, "'" + name + "', ");
  // Loaded data are buffers, as in upstream's container.
  DataEntry loaded =
      entry_for(name, stored->detach().clone(), masked, /*as_parameter=*/false, values, group);
  if (masked) load_link(*(*loaded.chain)[0], name, container);
  return loaded;
}

}  // namespace

BaseDataSparsifier::Impl::Impl(const Impl& other)
    : defaults(other.defaults.deep_copy()),
      fields(other.fields),
      enable_mask_update(other.enable_mask_update),
      step_count(other.step_count) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  const TensorDict container = other.container_state();
  // Other threads may ask the original for a mask, which gives it memory.
  const std::shared_lock reading(other.mask_mutex);
  for (const auto& [name, from] : other.entries) {
    DataEntry copy = from;
    copy.tensor = from.tensor.detach().clone().set_requires_grad(from.tensor.requires_grad());
    copy.mask = copy_of_mask(from.mask);
    copy.group = from.group.deep_copy();
    copy.state = from.state.deep_copy();
    copy.owner.reset();  // no module has the copy as its weight
    if (from.is_masked()) {
      auto link = make_link(copy.group, copy.mask);
      load_link(*link, name, container);
      copy.chain = chain_of(copy.tensor, copy.as_parameter, std::move(link));
    }
    entries.insert(name, std::move(copy));
  }
  next_place = other.next_place;
}

TensorDict BaseDataSparsifier::Impl::container_state() const {
  TensorDict state;
  const auto items = in_container_order();
  // Python's state_dict lists the parameters of a module, then its buffers, then its children.
  for (const bool parameters : {true, false}) {
    for (const auto* item : items) {
      const DataEntry& entry = item->second;
      if (entry.is_masked() || entry.as_parameter != parameters) continue;
      state.insert(item->first, entry.tensor.detach());
    }
  }
  for (const auto* item : items) {
    const auto& [name, entry] = *item;
    if (!entry.is_masked()) continue;
    state.insert(original_key(name), entry.tensor.detach());
    for (const auto& link : *entry.chain) {
      if (!link->is_serializable()) continue;
      for (const auto& dict : {link->named_parameters(), link->named_buffers()}) {
        for (const auto& item : dict) {
          state.insert(link_prefix(name) + item.key(), item.value().detach());
        }
      }
    }
  }
  return state;
}

DataSparsifierState BaseDataSparsifier::Impl::state_dict(
    bool clone, std::optional<MaskFormat> mask_format) const {
  at::NoGradGuard no_grad;
  const std::shared_lock reading(mask_mutex);
  DataSparsifierState dict;
  for (const auto& [name, entry] : entries) {
    NamedValues values = mask_values(entry.mask, mask_format);
    // A value of the user's with such a name would replace the mask.
    check_no_mask_names(name, entry.state);
    values.update(entry.state.deep_copy());
    dict.state.insert(name, std::move(values));
    dict.data_groups.insert(name, entry.group.deep_copy());
  }
  // Detached: a state is data and keeps no graph alive.
  dict.container = container_state();
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
  check_together(name, group);
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
    // Existing entries win, whatever the state says of their names.
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
  auto kept = std::exchange(entries, {});
  for (auto& [name, entry] : loaded) insert(name, std::move(entry));
  // Existing entries come after the loaded ones, as in upstream.
  if (!strict) entries.append(std::move(kept));
  structure_changed();
}

void BaseDataSparsifier::load_state_dict(const DataSparsifierState& state, bool strict) {
  NewEntries loaded = impl_->entries_of(state, strict);
  for (const auto& [name, entry] : loaded) check_data(name, entry.tensor);
  impl_->adopt(std::move(loaded), strict);
}

void BaseDataSparsifier::Impl::check_same_names(const DataSparsifierState& state) const {
  for (const auto& item : state.state) {
    TORCH_CHECK(entries.contains(item.key()), "Error loading ", item.key(),
                ": there is no data of that name");
  }
  for (const auto& [name, entry] : entries) {
    TORCH_CHECK(state.state.contains(name) && state.data_groups.contains(name), "Error loading ",
                name, ": the state does not have it");
    check_group(name, state.data_groups[name]);
  }
}

DataEntry BaseDataSparsifier::Impl::with_mask_of(const std::string& name, const DataEntry& entry,
                                                 const DataSparsifierState& state,
                                                 const TensorDict& tensors) const {
  const NamedValues &values = state.state[name], &group = state.data_groups[name];
  // The existing mask is kept and filled later, so that there is never a second one.
  if (!changes_link(entry.group, group) && can_unpack_into(name, values, entry.mask)) {
    DataEntry same = entry;
    same.group = group.deep_copy();
    same.state = without_mask(values);
    return same;
  }
  DataEntry loaded =
      entry_for(name, entry.tensor, entry.is_masked(), entry.as_parameter, values, group);
  // The module still has this weight: only its mask is replaced.
  loaded.owner = entry.owner;
  if (loaded.is_masked()) load_link(*(*loaded.chain)[0], name, tensors);
  return loaded;
}

void BaseDataSparsifier::load_masks(const DataSparsifierState& state) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  impl_->check_same_names(state);
  const TensorDict tensors = impl_->container_state();  // a new link gets the old one's tensors
  NewEntries loaded;
  for (const auto& [name, entry] : impl_->entries) {
    loaded.emplace_back(name, impl_->with_mask_of(name, entry, state, tensors));
  }
  // All entries are checked by now. Unpacking in place cannot fail, so nothing is loaded by half.
  for (const auto& [name, entry] : loaded) {
    if (!entry.mask.is_same(impl_->entry(name).mask)) continue;
    unpack_into(state.state[name], entry.mask);
    bump_version(entry.mask);
  }
  impl_->adopt(std::move(loaded), /*strict=*/true);
}

DataSparsifierSnapshot BaseDataSparsifier::getstate(const StateDictOptions& options) const {
  DataSparsifierSnapshot snapshot;
  static_cast<DataSparsifierState&>(snapshot) = state_dict(options);
  // A snapshot must not change when a list in the defaults does.
  snapshot.defaults = impl_->defaults.deep_copy();
  snapshot.enable_mask_update = impl_->enable_mask_update;
  snapshot.fields = fields();
  return snapshot;
}

void BaseDataSparsifier::setstate(const DataSparsifierSnapshot& snapshot) {
  impl_->check_complete("the defaults", snapshot.defaults);
  for (const auto& entry : snapshot.defaults) impl_->check_value(entry.name, entry.value);
  // Copied before anything changes, since copying may run out of memory.
  NamedValues defaults = snapshot.defaults.deep_copy();
  NewEntries loaded = impl_->entries_of(snapshot, /*strict=*/true);
  for (const auto& [name, entry] : loaded) check_data(name, entry.tensor);
  set_fields(snapshot.fields);  // the last call that may throw
  impl_->adopt(std::move(loaded), /*strict=*/true);
  impl_->defaults = std::move(defaults);
  impl_->enable_mask_update = snapshot.enable_mask_update.value_or(true);
}

}  // namespace winnow
