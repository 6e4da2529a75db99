// PRIVATE. What a data sparsifier holds.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "torch/sparsifier/data_weight.h"
#include "torch/support/named_list.h"
#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
namespace internal {

struct DataEntry {
  at::Tensor tensor;  // the object that was added, or a loaded one; masked or squashed
  at::Tensor mask;
  NamedValues group;
  NamedValues state;
  int64_t place = 0;                           // in the container, which has an order of its own
  bool as_parameter = false;                   // how the container lists the tensor
  std::shared_ptr<ParametrizationList> chain;  // null once squashed
  std::weak_ptr<torch::nn::Module> owner;      // the module whose weight was added, while it lives

  bool is_masked() const noexcept { return chain != nullptr; }
  at::Tensor read() const { return is_masked() ? chain->read() : tensor; }
};

using NewEntries = std::vector<std::pair<std::string, DataEntry>>;
using TensorDict = torch::OrderedDict<std::string, at::Tensor>;

}  // namespace internal

using namespace internal;

struct BaseDataSparsifier::Impl {
  NamedList<DataEntry> entries;
  NamedValues defaults;
  std::vector<ConfigField> fields;
  bool enable_mask_update = true;
  int64_t step_count = 0;
  int64_t next_place = 0;
  bool stepping = false;               // for a step that calls itself
  std::set<std::string> warned_names;  // that look misspelt
  std::set<std::string> scheduled;  // values that a scheduler has set, for the warning of the next

  Impl() = default;
  /// A deep copy.
  Impl(const Impl& other);
  Impl& operator=(const Impl&) = delete;

  /// The mask of `entry`, the tensor object itself, with a place in memory for each value. A first
  /// mask gets its memory here.
  at::Tensor own_mask(const DataEntry& entry) const;
  /// What `entry` reads, also while own_mask runs.
  at::Tensor read(const DataEntry& entry) const;
  mutable std::shared_mutex mask_mutex;  // const members may run at the same time

  /// The entry of that name; c10::ValueError where there is none.
  DataEntry& entry(const std::string& name);

  /// Throws where `value` is refused by the declared field `key`.
  void check_value(const std::string& key, const c10::IValue& value) const;
  /// The same for all of `config`, with a warning for names that look misspelt.
  void check_config(const NamedValues& config);
  /// Throws where a declared field does not fit to the rest of a whole configuration.
  void check_together(const std::string& name, const NamedValues& group) const;
  /// The same for one field that is about to be set in `group`.
  void check_set(const std::string& name, const std::string& key, const c10::IValue& value,
                 const NamedValues& group) const;

  /// What add_data is to insert for `weight`, in the place of `old` unless that is null; checked.
  DataEntry new_entry(const std::string& name, const DataWeight& weight, const DataEntry* old,
                      const AddDataOptions& options) const;

  /// Puts a new name at the end.
  void insert(const std::string& name, DataEntry entry);
  /// As upstream's container has them: squashed ones and those of a loaded state come last.
  std::vector<const NamedList<DataEntry>::Item*> in_container_order() const;

  /// c10::ValueError where other data than `name` have that very mask.
  void check_mask_is_free(const std::string& name, const at::Tensor& mask) const;

  /// Throws where `entry`, whose module lives, is not the weight of that module any more.
  void check_owner(const std::string& name, const DataEntry& entry) const;

  /// `mask_format` unset: dense masks.
  DataSparsifierState state_dict(bool clone, std::optional<MaskFormat> mask_format) const;
  /// Keys and tensors as upstream's container saves them: plain parameters, plain buffers, then
  /// originals and what their links save. The tensors themselves, detached.
  TensorDict container_state() const;
  /// The entries that `state` describes, in its order, checked.
  NewEntries entries_of(const DataSparsifierState& state, bool strict) const;
  /// Throws unless the names of `state` are those that are here, each with a whole configuration.
  void check_same_names(const DataSparsifierState& state) const;
  /// `entry` with the configuration and the mask of `state`, checked. Where the mask tensor is
  /// still that of `entry`, the state's packed mask fits into it and is yet to be written there.
  /// @param tensors container_state()
  DataEntry with_mask_of(const std::string& name, const DataEntry& entry,
                         const DataSparsifierState& state, const TensorDict& tensors) const;
  /// Takes them over in the place of what is there, or in front of it.
  void adopt(NewEntries loaded, bool strict);
  /// Throws unless `group` has every declared field, with a value that it takes.
  void check_group(const std::string& name, const NamedValues& group) const;
  /// c10::Error naming `what` where a declared field is missing in `config`.
  void check_complete(const std::string& what, const NamedValues& config) const;

  /// The module that shows the entries as they are; made when it is asked for, since keeping it up
  /// to date costs time that grows with the number of names at each change.
  std::shared_ptr<const torch::nn::Module> container() const;
  /// For every change of names, and of what is masked.
  void structure_changed();

 private:
  mutable std::mutex container_mutex_;  // const members may run at the same time
  mutable std::shared_ptr<const torch::nn::Module> container_;
};

namespace internal {

/// Whether `mask` is one value of memory that is shown at every place, as the first masks are.
bool is_one_value(const at::Tensor& mask);

/// KeyError unless `name` can be a name of data.
void check_data_name(const std::string& name);

/// The chain of one link that masks `tensor`.
std::shared_ptr<ParametrizationList> chain_of(const at::Tensor& tensor, bool as_parameter,
                                              std::shared_ptr<Parametrization> link);

}  // namespace internal
}  // namespace winnow
