// States as dictionaries of plain values, with upstream's names.
#include <ATen/core/Dict.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/jit_type.h>

#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

using Dict = c10::impl::GenericDict;

Dict new_dict() { return Dict(c10::StringType::get(), c10::AnyType::get()); }

template <typename Value>
c10::IValue dict_of(const torch::OrderedDict<std::string, Value>& items) {
  Dict dict = new_dict();
  for (const auto& item : items) {
    if constexpr (std::is_same_v<Value, NamedValues>) {
      dict.insert(item.key(), to_value(item.value()));
    } else {
      dict.insert(item.key(), item.value());
    }
  }
  return dict;
}

/// The entries of a dictionary called `what` whose keys are strings.
NamedValues entries_of(const c10::IValue& value, const std::string& what) {
  TORCH_CHECK(value.isGenericDict(), "Error loading ", what, ": expected a dictionary, found ",
              to_text(value));
  NamedValues entries;
  for (const auto& item : value.toGenericDict()) {
    TORCH_CHECK(item.key().isString(), "Error loading ", what, ": the key ", to_text(item.key()),
                " is no string");
    entries.set(item.key().toStringRef(), item.value());
  }
  return entries;
}

/// Takes the value of that name out of `entries`.
c10::IValue take(NamedValues& entries, const std::string& key, const std::string& what) {
  TORCH_CHECK(entries.contains(key), "Error loading ", what, ": it has no '", key, "'");
  c10::IValue value = entries.at(key);
  entries.erase(key);
  return value;
}

torch::OrderedDict<std::string, NamedValues> groups_of(const c10::IValue& value,
                                                       const std::string& what) {
  torch::OrderedDict<std::string, NamedValues> groups("name");
  for (const auto& entry : entries_of(value, what)) {
    groups.insert(entry.name, entries_of(entry.value, what + " of " + entry.name));
  }
  return groups;
}

ScheduleValues schedule_values_of(const c10::IValue& value, const std::string& what) {
  ScheduleValues values("name");
  for (const auto& entry : entries_of(value, what)) values.insert(entry.name, entry.value);
  return values;
}

}  // namespace

c10::IValue to_value(const NamedValues& values) {
  Dict dict = new_dict();
  for (const auto& entry : values) dict.insert(entry.name, entry.value);
  return dict;
}

NamedValues to_named_values(const c10::IValue& value) { return entries_of(value, "the values"); }

c10::IValue to_value(const DataSparsifierState& state) {
  return to_value(NamedValues{{"state", dict_of(state.state)},
                              {"data_groups", dict_of(state.data_groups)},
                              {"_container", dict_of(state.container)}});
}

DataSparsifierState to_sparsifier_state(const c10::IValue& value) {
  const std::string what = "the state of a data sparsifier";
  NamedValues entries = entries_of(value, what);
  DataSparsifierState state;
  state.state = groups_of(take(entries, "state", what), "the state");
  state.data_groups = groups_of(take(entries, "data_groups", what), "the data group");
  const c10::IValue container = take(entries, "_container", what);
  for (const auto& entry : entries_of(container, "the container")) {
    TORCH_CHECK(entry.value.isTensor(), "Error loading the container: '", entry.name,
                "' is no tensor but ", to_text(entry.value));
    state.container.insert(entry.name, entry.value.toTensor());
  }
  return state;
}

c10::IValue to_value(const DataSchedulerState& state) {
  NamedValues values{{"schedule_param", state.schedule_param},
                     {"base_param", dict_of(state.base_param)},
                     {"last_epoch", state.last_epoch},
                     {"_step_count", state.step_count},
                     {"_last_param", dict_of(state.last_param)}};
  values.update(state.fields);
  return to_value(values);
}

DataSchedulerState to_scheduler_state(const c10::IValue& value) {
  const std::string what = "the state of a data scheduler";
  NamedValues entries = entries_of(value, what);
  DataSchedulerState state;
  for (const char* key : {"schedule_param", "last_epoch", "_step_count"}) {
    TORCH_CHECK(entries.contains(key), "Error loading ", what, ": it has no '", key, "'");
  }
  state.schedule_param = entries.get<std::string>("schedule_param");
  state.last_epoch = entries.get<int64_t>("last_epoch");
  state.step_count = entries.get<int64_t>("_step_count");
  state.base_param = schedule_values_of(take(entries, "base_param", what), "base_param");
  state.last_param = schedule_values_of(take(entries, "_last_param", what), "_last_param");
  for (const char* key :
       {"schedule_param", "last_epoch", "_step_count", "verbose", "_get_sp_called_within_step"}) {
    entries.erase(key);
  }
  state.fields = std::move(entries);
  return state;
}

}  // namespace winnow
