#include "winnow/torch/data_sparsifier.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>
#include <c10/util/ScopeExit.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "torch/parametrize/parametrization_access.h"
#include "torch/parametrize/parametrization_types.h"
#include "torch/sparsifier/data_sparsifier_impl.h"
#include "torch/support/class_name.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "torch/support/plain_values.h"
#include "winnow/base/edit_distance.h"

namespace winnow {
using namespace internal;

namespace {

/// int8, one byte for each value, if a product with it keeps the data's dtype; otherwise the data's
/// own dtype: for bool and unsigned data, and for F8, which takes no more than a byte itself.
c10::ScalarType first_mask_type(c10::ScalarType data) {
  const bool keeps = at::isFloatingType(data) || at::isComplexType(data) ||
                     at::isIntegralType(data, /*includeBool=*/false);
  const bool is_unsigned = data == at::kUInt16 || data == at::kUInt32 || data == at::kUInt64;
  const bool is_small = c10::elementSize(data) == 1;
  return keeps && !is_unsigned && !is_small ? at::kChar : data;
}

/// Ones that share a single value of memory: get_mask allocates the mask when it is needed.
at::Tensor ones_for(const at::Tensor& weight) {
  at::NoGradGuard no_grad;
  const auto type = first_mask_type(weight.scalar_type());
  return at::ones({}, weight.options().dtype(type).requires_grad(false)).expand(weight.sizes());
}

at::Tensor mask_in(const NamedValues& config, const at::Tensor& weight) {
  // The given tensor itself, so that the caller sees each step in it.
  return config.contains("mask") ? config.get<at::Tensor>("mask") : ones_for(weight);
}

at::Tensor kept_mask(const DataEntry& old, const std::string& name, const at::Tensor& weight) {
  WINNOW_CHECK_ASSERTION(old.tensor.sizes() == weight.sizes(),
                         "to retain the old mask, the shape of the new data must be the same: '",
                         name, "' has ", old.tensor.sizes(), ", the new data ", weight.sizes(),
                         ". Pass reuse_mask = false to start with a new mask");
  return old.mask;
}

void warn_if_misspelt(const std::string& key, const NamedValues& declared) {
  for (const auto& field : declared) {
    // A warning only: any name may be meant for a user's update_mask.
    if (is_misspelt(field.name, key)) {
      TORCH_WARN("'", key,
                 "' is kept and handed to update_mask, but nobody declared it. Did you mean '",
                 field.name, "'?");
      return;
    }
  }
}

/// A module without forward. It only shows the data of a sparsifier, whose tensors stay the same
/// objects.
class DataContainer final : public torch::nn::Module, public Parametrizable {
 public:
  DataContainer() : Module("DataContainer") {}

  /// Adds the tensor of `entry`, or the chain whose original it is.
  void add(const std::string& name, const DataEntry& entry) {
    if (entry.is_masked()) {
      ParametrizationAccess::attach(*this, name, entry.chain);
    } else {
      ParametrizationAccess::insert_tensor(*this, name, entry.tensor, entry.as_parameter);
    }
  }

 private:
  torch::nn::Module& module() noexcept override { return *this; }
  const torch::nn::Module& module() const noexcept override { return *this; }
  torch::OrderedDict<std::string, at::Tensor>& own_parameters() noexcept override {
    return parameters_;
  }
};

}  // namespace

bool internal::is_one_value(const at::Tensor& mask) {
  return mask.layout() == at::kStrided && mask.numel() > 1 &&
         std::ranges::all_of(mask.strides(), [](int64_t stride) { return stride == 0; });
}

void internal::check_data_name(const std::string& name) {
  WINNOW_CHECK_KEY(!name.empty(), "the name of data can't be empty");
  // LibTorch's modules refuse such names, and the container is one.
  WINNOW_CHECK_KEY(name.find('.') == std::string::npos, "the name of data can't contain \".\": '",
                   name, "'. Replace the dots, by \"_\" for example");
  WINNOW_CHECK_KEY(name != "parametrizations",
                   "the name 'parametrizations' already exists: the container needs it for itself");
}

std::shared_ptr<ParametrizationList> internal::chain_of(const at::Tensor& tensor, bool as_parameter,
                                                        std::shared_ptr<Parametrization> link) {
  auto chain = std::make_shared<ParametrizationList>(tensor, as_parameter);
  chain->append(std::move(link));
  return chain;
}

DataEntry& BaseDataSparsifier::Impl::entry(const std::string& name) {
  DataEntry* found = entries.find(name);
  TORCH_CHECK_VALUE(found != nullptr, "data with specified name does not exist: '", name, "'");
  return *found;
}

void BaseDataSparsifier::Impl::check_value(const std::string& key, const c10::IValue& value) const {
  const auto field = std::ranges::find(fields, key, &ConfigField::name);
  if (field != fields.end()) field->check(value);
  // Not a declared field, but known to all sparsifiers.
  TORCH_CHECK_TYPE(key != "mask" || value.isTensor(), "mask: expected a tensor, found ",
                   to_text(value));
}

void BaseDataSparsifier::Impl::check_config(const NamedValues& config) {
  for (const auto& entry : config) {
    check_value(entry.name, entry.value);
    const bool known =
        entry.name == "mask" || entry.name == "parametrization" || defaults.contains(entry.name);
    // Warn once for each name: data are often added by the thousand.
    if (!known && warned_names.insert(entry.name).second) warn_if_misspelt(entry.name, defaults);
  }
}

void BaseDataSparsifier::Impl::check_set(const std::string& name, const std::string& key,
                                         const c10::IValue& value, const NamedValues& group) const {
  const auto field = std::ranges::find(fields, key, &ConfigField::name);
  if (field == fields.end() || !field->check_with) return;
  // Check a copy: a failing set_config must leave the configuration unchanged.
  NamedValues changed = group;
  changed.set(key, value);
  field->check_with(name, changed);
}

void BaseDataSparsifier::Impl::check_together(const std::string& name,
                                              const NamedValues& group) const {
  for (const ConfigField& field : fields) {
    // A field that is missing has no value that could be wrong.
    if (field.check_with && group.contains(field.name)) field.check_with(name, group);
  }
}

DataEntry BaseDataSparsifier::Impl::new_entry(const std::string& name, const DataWeight& weight,
                                              const DataEntry* old,
                                              const AddDataOptions& options) const {
  const InMode normal(/*inference=*/false);
  DataEntry entry;
  entry.tensor = weight.tensor;
  entry.owner = weight.owner;
  entry.as_parameter = options.as_parameter.value_or(weight.is_parameter);
  // The configuration of the old data carries over, but not its `mask`: without reuse_mask, a new
  // mask must not be the old one.
  NamedValues given = defaults.deep_copy();
  given.update(options.config);
  entry.group = given;
  if (old != nullptr) {
    entry.group = old->group.deep_copy();
    entry.group.update(options.config);
  }
  check_together(name, entry.group);
  // Also the mask of a squashed name, which can so be masked again.
  const bool keep = old != nullptr && options.reuse_mask;
  entry.mask = keep ? kept_mask(*old, name, weight.tensor) : mask_in(given, weight.tensor);
  // Also for a kept mask: the new data may be on another device.
  check_mask(entry.mask, weight.tensor);
  // A new mask cannot belong to other data, and the search takes time for each name.
  if (!keep && given.contains("mask")) check_mask_is_free(name, entry.mask);
  auto link = make_link(entry.group, entry.mask);
  check_link(weight.tensor, *link);
  entry.chain = chain_of(entry.tensor, entry.as_parameter, std::move(link));
  return entry;
}

void BaseDataSparsifier::Impl::check_mask_is_free(const std::string& name,
                                                  const at::Tensor& mask) const {
  for (const auto& [other, entry] : entries) {
    TORCH_CHECK_VALUE(other == name || !entry.mask.is_same(mask), "the mask of '", name,
                      "' is that of '", other, "' already; pass a clone of it");
  }
}

void BaseDataSparsifier::Impl::check_owner(const std::string& name, const DataEntry& entry) const {
  // Masks on a tensor that the module's forward no longer uses would silently have no effect.
  const auto owner = entry.owner.lock();
  if (owner == nullptr) return;
  const at::Tensor* weight = weight_of_module(*owner);
  TORCH_CHECK_VALUE(weight != nullptr && weight->is_same(entry.tensor), "the weight of the ",
                    owner->name(), " that was added as '", name,
                    "' is another tensor now, which no mask would reach. Add the module again "
                    "under its name: mask and configuration carry over");
}

void BaseDataSparsifier::Impl::insert(const std::string& name, DataEntry entry) {
  entry.place = next_place++;
  entries.insert(name, std::move(entry));
}

std::vector<const NamedList<DataEntry>::Item*> BaseDataSparsifier::Impl::in_container_order()
    const {
  std::vector<const NamedList<DataEntry>::Item*> items;
  for (const auto& item : entries) items.push_back(&item);
  std::ranges::sort(items, {}, [](const auto* item) { return item->second.place; });
  return items;
}

void BaseDataSparsifier::Impl::structure_changed() {
  const std::lock_guard lock(container_mutex);
  made_container.reset();
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

void BaseDataSparsifier::add_data(const std::string& name, const Data& data,
                                  const AddDataOptions& options) {
  check_data_name(name);
  const DataWeight weight = weight_of(data);
  const DataEntry* old = impl_->entries.find(name);
  if (old != nullptr && !options.replace) {
    TORCH_WARN_ONCE("Replacing existing data of the same name. - Did you mean a different name? ('",
                    name, "')");
  }
  // The only part of a failing call that stays is the warning.
  impl_->check_config(options.config);
  DataEntry added = impl_->new_entry(name, weight, old, options);
  check_data(name, weight.tensor);

  // All checks are done. Erasing first moves a replaced name to the end, as upstream does.
  impl_->entries.erase(name);
  impl_->insert(name, std::move(added));
  impl_->structure_changed();
}

void BaseDataSparsifier::remove_data(const std::string& name) {
  impl_->entry(name);  // throws for an unknown name
  // The tensor lives on with its owner; only its masking ends.
  impl_->entries.erase(name);
  impl_->structure_changed();
}

void BaseDataSparsifier::step() {
  TORCH_CHECK(!impl_->stepping, class_name(typeid(*this)),
              ": step was called from within step, by update_mask perhaps");
  impl_->stepping = true;
  const auto end = c10::make_scope_exit([this] { impl_->stepping = false; });
  // Also while masks are kept: a scheduler asks whether step was called.
  ++impl_->step_count;
  if (!impl_->enable_mask_update) return;
  for (const auto& [name, entry] : impl_->entries) {
    TORCH_CHECK_VALUE(entry.is_masked(), "mask squashed - '", name,
                      "' cannot be stepped any more; add its data again");
    impl_->check_owner(name, entry);
  }
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  update_masks();
}

void BaseDataSparsifier::update_masks() {
  // Iterate over names and copy the configuration: update_mask may add, replace and remove data.
  for (const std::string& name : names()) {
    if (!contains(name)) continue;  // an earlier call removed it
    const NamedValues config = impl_->entry(name).group;
    update_mask(name, get_data(name), config);
  }
}

void BaseDataSparsifier::check_data(const std::string&, const at::Tensor&) const {}

at::Tensor BaseDataSparsifier::get_mask(const std::string& name) const {
  const DataEntry& entry = impl_->entry(name);
  // Const members may run concurrently, and only the first call allocates. Later ones only read.
  {
    const std::shared_lock reading(impl_->mask_mutex);
    if (!is_one_value(entry.mask)) return entry.mask;
  }
  const InMode normal(/*inference=*/false);
  const std::unique_lock writing(impl_->mask_mutex);
  // Another thread may have allocated it meanwhile. set_data keeps the shared tensor object.
  if (is_one_value(entry.mask)) entry.mask.set_data(entry.mask.contiguous());
  return entry.mask;
}

at::Tensor BaseDataSparsifier::raw_mask(const std::string& name) const {
  return impl_->entry(name).mask;
}

at::Tensor BaseDataSparsifier::get_data(const std::string& name, bool return_original) const {
  const DataEntry& entry = impl_->entry(name);
  if (!return_original) {
    // get_mask may give the mask its memory meanwhile.
    const std::shared_lock reading(impl_->mask_mutex);
    return entry.read();
  }
  TORCH_CHECK_VALUE(entry.is_masked(), "mask squashed - original mask value does not exist for '",
                    name, "'");
  return entry.tensor;
}

void BaseDataSparsifier::squash_mask(const std::vector<std::string>& names,
                                     bool leave_parametrized) {
  const at::NoGradGuard no_grad;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const DataEntry* entry = impl_->entries.find(name);
    TORCH_CHECK_VALUE(entry != nullptr && entry->is_masked(),
                      "the container does not have a parametrization on ", name);
    TORCH_CHECK_VALUE(seen.insert(name).second, "squash_mask: '", name, "' is given twice");
    // Nothing is written then, so nothing else can fail.
    if (!leave_parametrized) continue;
    impl_->check_owner(name, *entry);
    check_mask(entry->mask, entry->tensor);
    check_link(entry->tensor, *(*entry->chain)[0]);
    check_can_be_written(entry->tensor, "'" + name + "'");
  }
  impl_->structure_changed();  // before the loop, since a user's parametrization may throw in it
  for (const std::string& name : names) {
    DataEntry& entry = impl_->entry(name);
    // Read only now: an earlier name may be the same tensor, which has new values by now.
    if (leave_parametrized) write_masked_values(*entry.chain);
    entry.chain.reset();
    entry.place = impl_->next_place++;  // upstream's container registers it again, at the end
  }
}

std::vector<std::string> BaseDataSparsifier::names() const { return impl_->entries.names(); }

bool BaseDataSparsifier::contains(const std::string& name) const {
  return impl_->entries.contains(name);
}

bool BaseDataSparsifier::is_parametrized(const std::string& name) const {
  return impl_->entry(name).is_masked();
}

const NamedValues& BaseDataSparsifier::data_group(const std::string& name) const {
  return impl_->entry(name).group;
}

void BaseDataSparsifier::set_config(const std::string& name, const std::string& key,
                                    c10::IValue value) {
  NamedValues& group = impl_->entry(name).group;
  // The chain was made with them, and would not notice.
  TORCH_CHECK_VALUE(key != "mask" && key != "parametrization", "'", key, "' of '", name,
                    "' can only be given to add_data");
  impl_->check_config({{key, value}});
  impl_->check_set(name, key, value, group);
  group.set(key, std::move(value));
}

void BaseDataSparsifier::set_config(const std::string& name, const std::string& key,
                                    std::initializer_list<int64_t> integers) {
  set_config(name, key, tuple_of(integers));
}

NamedValues& BaseDataSparsifier::state(const std::string& name) { return impl_->entry(name).state; }

const NamedValues& BaseDataSparsifier::defaults() const noexcept { return impl_->defaults; }

bool BaseDataSparsifier::enable_mask_update() const noexcept { return impl_->enable_mask_update; }

void BaseDataSparsifier::set_enable_mask_update(bool enable) noexcept {
  impl_->enable_mask_update = enable;
}

int64_t BaseDataSparsifier::step_count() const noexcept { return impl_->step_count; }

std::shared_ptr<const torch::nn::Module> BaseDataSparsifier::container() const {
  const std::lock_guard lock(impl_->container_mutex);
  if (impl_->made_container == nullptr) {
    auto made = std::make_shared<DataContainer>();
    for (const auto* item : impl_->in_container_order()) made->add(item->first, item->second);
    impl_->made_container = std::move(made);
  }
  return impl_->made_container;
}

std::string BaseDataSparsifier::text() const {
  std::string text = class_name(typeid(*this)) + " (";
  for (const auto& [name, data] : impl_->entries) {
    text += "\n\tData Group\n\t    name: " + name + "\n";
    std::vector<const NamedValues::Entry*> sorted;
    for (const auto& entry : data.group) {
      if (entry.name != "data") sorted.push_back(&entry);  // upstream's text leaves it out
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
