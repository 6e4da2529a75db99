// Converts states to dictionaries of plain values, with upstream's keys, and back.
#include <c10/util/Exception.h>

#include "torch/support/plain_values.h"
#include "torch/support/tensor_memory.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
using namespace internal;

namespace {

c10::IValue dict_of_groups(const torch::OrderedDict<std::string, NamedValues>& groups) {
  // Converted first: a c10 dictionary holds plain values only.
  torch::OrderedDict<std::string, c10::IValue> values;
  for (const auto& item : groups) values.insert(item.key(), to_value(item.value()));
  return dict_of(values);
}

/// Returns the checked entries of a dictionary called `what`.
ScheduleValues items_in(const c10::IValue& value, const std::string& what) {
  TORCH_CHECK(value.isGenericDict(), "Error loading ", what, ": expected a dictionary, found ",
              value.isString() ? "a string" : to_text(value));
  ScheduleValues items("name");
  for (const auto& item : value.toGenericDict()) {
    TORCH_CHECK(item.key().isString(), "Error loading ", what, ": the key ", to_text(item.key()),
                " is no string");
    // A few bytes of a file can describe a view of any size, which its user would copy.
    TORCH_CHECK(!item.value().isTensor() || !is_expanded(item.value().toTensor()), "Error loading ",
                what, ": '", item.key().toStringRef(),
                "' is an expanded view, larger than what it is a view of");
    items.insert(item.key().toStringRef(), item.value());
  }
  return items;
}

/// Converts a dictionary to NamedValues. Their look-up is linear, so the size is limited: a file
/// could otherwise make loading take quadratic time.
NamedValues entries_of(const c10::IValue& value, const std::string& what) {
  constexpr size_t kMost = 4096;
  TORCH_CHECK(!value.isGenericDict() || value.toGenericDict().size() <= kMost, "Error loading ",
              what, ": it has ", value.isGenericDict() ? value.toGenericDict().size() : 0,
              " entries, expected at most ", kMost);
  NamedValues entries;
  for (const auto& item : items_in(value, what)) entries.set(item.key(), item.value());
  return entries;
}

/// Removes the value of that name from `entries` and returns it.
c10::IValue take(NamedValues& entries, const std::string& key, const std::string& what) {
  TORCH_CHECK(entries.contains(key), "Error loading ", what, ": it has no '", key, "'");
  c10::IValue value = entries.at(key);
  entries.erase(key);
  return value;
}

torch::OrderedDict<std::string, NamedValues> groups_of(const c10::IValue& value,
                                                       const std::string& what) {
  torch::OrderedDict<std::string, NamedValues> groups("name");
  for (const auto& item : items_in(value, what)) {
    groups.insert(item.key(), entries_of(item.value(), what + " of " + item.key()));
  }
  return groups;
}

torch::OrderedDict<std::string, at::Tensor> tensors_in(const c10::IValue& value,
                                                       const std::string& what) {
  torch::OrderedDict<std::string, at::Tensor> tensors("name");
  for (const auto& item : items_in(value, what)) {
    TORCH_CHECK(item.value().isTensor(), "Error loading ", what, ": '", item.key(),
                "' is no tensor but ", to_text(item.value()));
    tensors.insert(item.key(), item.value().toTensor());
  }
  return tensors;
}

}  // namespace

c10::IValue to_value(const NamedValues& values) {
  torch::OrderedDict<std::string, c10::IValue> items;
  for (const auto& entry : values) items.insert(entry.name, entry.value);
  return dict_of(items);
}

c10::IValue to_value(const torch::OrderedDict<std::string, at::Tensor>& tensors) {
  return dict_of(tensors);
}

NamedValues to_named_values(const c10::IValue& value) { return entries_of(value, "the values"); }

torch::OrderedDict<std::string, at::Tensor> to_tensors(const c10::IValue& value) {
  return tensors_in(value, "the tensors");
}

c10::IValue to_value(const DataSparsifierState& state) {
  return to_value(NamedValues{{"state", dict_of_groups(state.state)},
                              {"data_groups", dict_of_groups(state.data_groups)},
                              {"_container", dict_of(state.container)}});
}

c10::IValue to_value(const DataSparsifierSnapshot& snapshot) {
  // The first three keys are those of a state, in the same order.
  NamedValues values = to_named_values(to_value(static_cast<const DataSparsifierState&>(snapshot)));
  values.set("defaults", to_value(snapshot.defaults));
  values.set("fields", to_value(snapshot.fields));
  values.set("enable_mask_update", snapshot.enable_mask_update.value_or(true));
  return to_value(values);
}

DataSparsifierSnapshot to_sparsifier_snapshot(const c10::IValue& value) {
  const std::string what = "a data sparsifier";
  DataSparsifierSnapshot snapshot;
  static_cast<DataSparsifierState&>(snapshot) = to_sparsifier_state(value);
  NamedValues entries = entries_of(value, what);
  snapshot.defaults = entries_of(take(entries, "defaults", what), "the defaults");
  // Upstream writes neither `fields` nor `enable_mask_update`.
  if (entries.contains("fields")) {
    snapshot.fields = entries_of(entries.at("fields"), "the fields");
  }
  if (entries.contains("enable_mask_update")) {
    snapshot.enable_mask_update = entries.get<bool>("enable_mask_update");
  }
  return snapshot;
}

DataSparsifierState to_sparsifier_state(const c10::IValue& value) {
  const std::string what = "the state of a data sparsifier";
  NamedValues entries = entries_of(value, what);
  DataSparsifierState state;
  state.state = groups_of(take(entries, "state", what), "the state");
  state.data_groups = groups_of(take(entries, "data_groups", what), "the data group");
  state.container = tensors_in(take(entries, "_container", what), "the container");
  return state;
}

c10::IValue to_value(const DataSchedulerState& state) {
  NamedValues values{{"schedule_param", state.schedule_param},
                     {"base_param", dict_of(state.base_param)},
                     {"last_epoch", state.last_epoch},
                     {"_step_count", state.step_count},
                     {"_last_param", dict_of(state.last_param)}};
  // Beside the others, as Python has them: attributes of one object.
  values.update(state.fields);
  return to_value(values);
}

DataSchedulerState to_scheduler_state(const c10::IValue& value) {
  const std::string what = "the state of a data scheduler";
  NamedValues entries = entries_of(value, what);
  DataSchedulerState state;
  // Asked for first: get would say KeyError, which does not name the file's part.
  for (const char* key : {"schedule_param", "last_epoch", "_step_count"}) {
    TORCH_CHECK(entries.contains(key), "Error loading ", what, ": it has no '", key, "'");
  }
  state.schedule_param = entries.get<std::string>("schedule_param");
  state.last_epoch = entries.get<int64_t>("last_epoch");
  state.step_count = entries.get<int64_t>("_step_count");
  state.base_param = items_in(take(entries, "base_param", what), "base_param");
  state.last_param = items_in(take(entries, "_last_param", what), "_last_param");
  // The rest are fields of the class. The last two of these names are attributes that upstream
  // saves and that have no meaning here.
  for (const char* key :
       {"schedule_param", "last_epoch", "_step_count", "verbose", "_get_sp_called_within_step"}) {
    entries.erase(key);
  }
  state.fields = std::move(entries);
  return state;
}

}  // namespace winnow
