// PRIVATE. What a data sparsifier holds.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "torch/data_container.h"
#include "winnow/torch/data_sparsifier.h"

namespace winnow {

struct DataEntry {
  at::Tensor tensor;  // the object that was added, or a loaded one; masked or squashed
  at::Tensor mask;
  NamedValues group;
  NamedValues state;
  bool masked = true;
};

/// An entry that is not part of a sparsifier yet, and how the container is to hold it.
struct NewEntry {
  DataEntry entry;
  bool as_parameter = false;
  std::shared_ptr<Parametrization> link;  // null: squashed
};

using NewEntries = std::vector<std::pair<std::string, NewEntry>>;

struct BaseDataSparsifier::Impl {
  /// By pointer, so that references to an entry outlive changes of others.
  torch::OrderedDict<std::string, std::shared_ptr<DataEntry>> entries{"data"};
  std::shared_ptr<DataContainer> container = std::make_shared<DataContainer>();
  NamedValues defaults;
  std::vector<ConfigField> fields;
  bool enable_mask_update = true;
  int64_t step_count = 0;

  Impl() = default;
  /// A deep copy.
  Impl(const Impl& other);
  Impl& operator=(const Impl&) = delete;

  /// The entry of that name; c10::ValueError where there is none.
  DataEntry& entry(const std::string& name);

  /// Throws where `value` is refused by the declared field `key`.
  void check_value(const std::string& key, const c10::IValue& value) const;
  /// The same for all of `config`, with a warning for names that look misspelt.
  void check_config(const NamedValues& config) const;

  /// What add_data is to insert for `weight`, in the place of `old` unless that is null; checked.
  NewEntry new_entry(const std::string& name, const at::Tensor& weight, const DataEntry* old,
                     const AddDataOptions& options) const;

  void insert(const std::string& name, NewEntry added);
  void erase(const std::string& name);

  /// `mask_format` unset: dense masks.
  DataSparsifierState state_dict(bool clone, std::optional<MaskFormat> mask_format) const;
  /// The entries that `state` describes, in its order, checked.
  NewEntries entries_of(const DataSparsifierState& state, bool strict) const;
  /// The entries that are here, with masks and configurations of `state`, checked.
  NewEntries entries_with_masks_of(const DataSparsifierState& state) const;
  /// Takes them over in the place of what is there, or in front of it.
  void adopt(NewEntries loaded, bool strict);
  /// Throws unless `group` has every declared field, with a value that it takes.
  void check_group(const std::string& name, const NamedValues& group) const;
  /// c10::Error naming `what` where a declared field is missing in `config`.
  void check_complete(const std::string& what, const NamedValues& config) const;
};

/// KeyError unless `name` can be a name of data.
void check_data_name(const std::string& name);

}  // namespace winnow
