#include "torch/training/optimizer_state.h"

#include <ATen/core/List.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/serialize/archive.h>

#include <cstring>
#include <memory>
#include <typeindex>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "torch/support/class_name.h"
#include "torch/training/optimizer_fields.h"
#include "winnow/torch/torch_file.h"

namespace winnow::internal {
namespace {

namespace optim = torch::optim;

// LibTorch saves an optimizer only as an archive of its own, which is safe to load only from
// trusted files and cannot be loaded if a parameter is listed twice. Known optimizers are therefore
// saved field by field, as plain values; only others go through LibTorch's archive.

// ---- one group's options, one parameter's state

template <typename Fields>
NamedValues values_of_fields(const Fields& fields) {
  NamedValues values;
  visit_fields(fields, [&](const char* name, const auto& field) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, at::Tensor>) {
      values.set(name, field.defined() ? c10::IValue(field) : c10::IValue());
    } else {
      values.set(name, field);
    }
  });
  return values;
}

template <typename Fields>
void set_fields_of(Fields& fields, const NamedValues& values) {
  visit_fields(fields, [&](const char* name, auto& field) {
    using Field = std::decay_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, at::Tensor>) {
      field = values.at(name).isNone() ? at::Tensor() : values.get<at::Tensor>(name);
    } else {
      field = values.get<Field>(name);
    }
  });
}

/// Returns the field that the options need and the state lacks, or null. Without it, the optimizer
/// would fail only in its next step.
const char* missing_in(const optim::SGDOptions&, const optim::SGDParamState&) { return nullptr; }

template <OneOf<optim::AdamOptions, optim::AdamWOptions> Options, typename State>
const char* missing_in(const Options& options, const State& state) {
  if (state.step() < 0) return "step";
  if (!state.exp_avg().defined()) return "exp_avg";
  if (!state.exp_avg_sq().defined()) return "exp_avg_sq";
  return options.amsgrad() && !state.max_exp_avg_sq().defined() ? "max_exp_avg_sq" : nullptr;
}

const char* missing_in(const optim::RMSpropOptions& options,
                       const optim::RMSpropParamState& state) {
  if (state.step() < 0) return "step";
  if (!state.square_avg().defined()) return "square_avg";
  if (options.momentum() > 0 && !state.momentum_buffer().defined()) return "momentum_buffer";
  return options.centered() && !state.grad_avg().defined() ? "grad_avg" : nullptr;
}

const char* missing_in(const optim::AdagradOptions&, const optim::AdagradParamState& state) {
  if (state.step() < 0) return "step";
  return state.sum().defined() ? nullptr : "sum";
}

/// Functions that read and make the options and states of one class of optimizer.
struct OptimizerKind {
  NamedValues (*options)(const optim::OptimizerOptions&);
  std::unique_ptr<optim::OptimizerOptions> (*make_options)(const NamedValues&);
  NamedValues (*state)(const optim::OptimizerParamState&);
  std::unique_ptr<optim::OptimizerParamState> (*make_state)(const NamedValues&);
  const char* (*missing)(const optim::OptimizerOptions&, const optim::OptimizerParamState&);
};

template <typename Options, typename State>
OptimizerKind kind_of() {
  return {
      .options =
          [](const optim::OptimizerOptions& options) {
            return values_of_fields(dynamic_cast<const Options&>(options));
          },
      .make_options = [](const NamedValues& values) -> std::unique_ptr<optim::OptimizerOptions> {
        // Some classes have no default learning rate; set_fields_of replaces this one.
        auto options = std::make_unique<Options>(Options(0.001));
        set_fields_of(*options, values);
        return options;
      },
      .state =
          [](const optim::OptimizerParamState& state) {
            return values_of_fields(dynamic_cast<const State&>(state));
          },
      .make_state = [](const NamedValues& values) -> std::unique_ptr<optim::OptimizerParamState> {
        auto state = std::make_unique<State>();
        set_fields_of(*state, values);
        return state;
      },
      .missing =
          [](const optim::OptimizerOptions& options, const optim::OptimizerParamState& state) {
            return missing_in(dynamic_cast<const Options&>(options),
                              dynamic_cast<const State&>(state));
          }};
}

/// Looks up the exact class, because a derived class may have more to save. Null for others.
const OptimizerKind* find_kind(const optim::Optimizer& optimizer) {
  static const std::unordered_map<std::type_index, OptimizerKind> kinds{
      {typeid(optim::SGD), kind_of<optim::SGDOptions, optim::SGDParamState>()},
      {typeid(optim::Adam), kind_of<optim::AdamOptions, optim::AdamParamState>()},
      {typeid(optim::AdamW), kind_of<optim::AdamWOptions, optim::AdamWParamState>()},
      {typeid(optim::RMSprop), kind_of<optim::RMSpropOptions, optim::RMSpropParamState>()},
      {typeid(optim::Adagrad), kind_of<optim::AdagradOptions, optim::AdagradParamState>()},
  };
  const auto found = kinds.find(typeid(optimizer));
  return found == kinds.end() ? nullptr : &found->second;
}

// ---- all groups, all parameters

/// A parameter, and the first group that has it. Listed twice, it still has one state.
struct GroupedParameter {
  at::Tensor tensor;
  size_t group = 0;
};

std::vector<GroupedParameter> distinct_in_groups(const optim::Optimizer& optimizer) {
  std::vector<GroupedParameter> distinct;
  std::unordered_set<const at::TensorImpl*> seen;
  for (size_t i = 0; i < optimizer.param_groups().size(); ++i) {
    for (const at::Tensor& parameter : optimizer.param_groups()[i].params()) {
      if (seen.insert(parameter.unsafeGetTensorImpl()).second) distinct.push_back({parameter, i});
    }
  }
  return distinct;
}

template <typename Items, typename ValueOf>
c10::IValue list_of_values(const Items& items, const ValueOf& value_of) {
  c10::impl::GenericList list(c10::AnyType::get());
  for (const auto& item : items) list.push_back(value_of(item));
  return list;
}

c10::IValue shapes_of(const optim::OptimizerParamGroup& group) {
  return list_of_values(group.params(), [](const at::Tensor& parameter) -> c10::IValue {
    const at::IntArrayRef sizes = parameter.sizes();
    return c10::ivalue::Tuple::create(std::vector<c10::IValue>(sizes.begin(), sizes.end()));
  });
}

c10::IValue all_shapes(const optim::Optimizer& optimizer) {
  return list_of_values(optimizer.param_groups(), shapes_of);
}

at::Tensor archive_of(const optim::Optimizer& optimizer) {
  TORCH_CHECK_VALUE(repeated_parameter(optimizer) < 0, "the ", class_name(typeid(optimizer)),
                    " holds a parameter twice, and LibTorch cannot load such an optimizer: make it "
                    "of distinct_parameters(model)");
  torch::serialize::OutputArchive archive;
  optimizer.save(archive);
  // Save twice, first to count and then to copy: a growing buffer would need three times the
  // memory.
  size_t bytes = 0;
  archive.save_to([&](const void*, size_t size) {
    bytes += size;
    return size;
  });
  const at::Tensor tensor = at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  char* next = static_cast<char*>(tensor.mutable_data_ptr());
  char* const end = next + bytes;
  archive.save_to([&](const void* data, size_t size) {
    TORCH_CHECK(size <= static_cast<size_t>(end - next), "LibTorch's archive changed its size");
    std::memcpy(next, data, size);
    next += size;
    return size;
  });
  return tensor;
}

void load_archive(optim::Optimizer& optimizer, const at::Tensor& bytes) {
  torch::serialize::InputArchive archive;
  archive.load_from(static_cast<const char*>(bytes.const_data_ptr()),
                    static_cast<size_t>(bytes.numel()));
  optimizer.load(archive);
}

/// Replaces the optimizer's options and state by the archive; puts them back if loading fails.
void restore_archive(optim::Optimizer& optimizer, const at::Tensor& bytes) {
  std::vector<std::unique_ptr<optim::OptimizerOptions>> options;
  for (const auto& group : optimizer.param_groups()) options.push_back(group.options().clone());
  auto state = std::move(optimizer.state());
  optimizer.state().clear();  // LibTorch's load would keep states that the archive lacks
  try {
    load_archive(optimizer, bytes);
  } catch (const std::exception& error) {
    optimizer.state() = std::move(state);
    for (size_t i = 0; i < options.size(); ++i) {
      optimizer.param_groups()[i].set_options(std::move(options[i]));
    }
    TORCH_CHECK(false, "LibTorch cannot load the optimizer: ", error.what());
  }
}

const c10::IValue& optimizer_part(const NamedValues& values, const char* key) {
  const c10::IValue* value = values.find(key);
  TORCH_CHECK(value != nullptr, "the optimizer's '", key, "' is missing");
  return *value;
}

/// Returns the items of a list, which must have `count` of them.
c10::ArrayRef<c10::IValue> items_of_part(const NamedValues& values, const char* key, size_t count) {
  const c10::IValue& value = optimizer_part(values, key);
  TORCH_CHECK(value.isList() && value.toListRef().size() == count, "the optimizer's '", key,
              "' is no list of ", count, " items");
  return value.toListRef();
}

/// The storages that are used by states so far.
using TakenStorages = std::unordered_set<const c10::StorageImpl*>;

/// Returns true if the tensor can be a state without a copy: it fills its storage, and no other
/// state uses that. Optimizers write states in place, so shared memory would mix them up.
bool take_storage(const at::Tensor& tensor, TakenStorages& taken) {
  const bool is_whole = tensor.is_contiguous() && tensor.storage().nbytes() == tensor.nbytes();
  return is_whole && taken.insert(tensor.storage().unsafeGetStorageImpl()).second;
}

/// Returns the state with tensors on the parameter's device that share no memory. Checks that they
/// have its shape and dtype.
NamedValues fitting_state(const NamedValues& saved, const at::Tensor& parameter, size_t index,
                          TakenStorages& taken) {
  NamedValues state;
  for (const auto& entry : saved) {
    if (!entry.value.isTensor()) {
      state.set(entry.name, entry.value);
      continue;
    }
    const at::Tensor& tensor = entry.value.toTensor();
    const bool may_be_sparse = entry.name == "momentum_buffer";  // if gradients are sparse
    TORCH_CHECK(tensor.sizes() == parameter.sizes() &&
                    tensor.scalar_type() == parameter.scalar_type() &&
                    (tensor.layout() == at::kStrided || may_be_sparse),
                "the optimizer's ", entry.name, " of parameter ", index, " is a ",
                tensor.toString(), " of shape ", tensor.sizes(), ", the parameter a ",
                parameter.toString(), " of shape ", parameter.sizes());
    const at::Tensor there = tensor.to(parameter.device());
    const bool own =
        there.layout() != at::kStrided || !there.is_same(tensor) || take_storage(there, taken);
    state.set(entry.name, own ? there : there.clone(at::MemoryFormat::Contiguous));
  }
  return state;
}

/// Checks that `was` has the shapes of the optimizer's parameters. Compares them one by one and not
/// as text, because a small file can hold nested lists with an endless text.
void check_same_shapes(const c10::IValue& was, const optim::Optimizer& optimizer) {
  const auto same_sizes = [](const c10::IValue& value, at::IntArrayRef sizes) {
    if (!value.isTuple() || value.toTupleRef().elements().size() != sizes.size()) return false;
    for (size_t d = 0; d < sizes.size(); ++d) {
      const c10::IValue& size = value.toTupleRef().elements()[d];
      if (!size.isInt() || size.toInt() != sizes[d]) return false;
    }
    return true;
  };
  const auto same_group = [&](const c10::IValue& value, const optim::OptimizerParamGroup& group) {
    if (!value.isList() || value.toListRef().size() != group.params().size()) return false;
    for (size_t i = 0; i < group.params().size(); ++i) {
      if (!same_sizes(value.toListRef()[i], group.params()[i].sizes())) return false;
    }
    return true;
  };
  const auto& groups = optimizer.param_groups();
  bool same = was.isList() && was.toListRef().size() == groups.size();
  for (size_t i = 0; same && i < groups.size(); ++i)
    same = same_group(was.toListRef()[i], groups[i]);
  TORCH_CHECK(same, "the optimizer had parameters of shapes ", to_text(was), " and has ",
              to_text(all_shapes(optimizer)), " now");
}

template <typename Made, typename Make>
Made made_of(const c10::IValue& value, const std::string& what, const Make& make) {
  TORCH_CHECK(value.isGenericDict(), "the optimizer's ", what, " is no dictionary");
  try {
    return make(to_named_values(value));
  } catch (const c10::Error& error) {
    TORCH_CHECK(false, "the optimizer's ", what, ": ", error.what_without_backtrace());
  }
}

/// The parts that a restorer puts into the optimizer. Shared, because std::function is copied.
struct NewOptimizerParts {
  std::vector<std::unique_ptr<optim::OptimizerOptions>> options;
  std::vector<std::pair<void*, std::unique_ptr<optim::OptimizerParamState>>> states;
};

std::shared_ptr<NewOptimizerParts> checked_parts(const optim::Optimizer& optimizer,
                                                 const OptimizerKind& kind,
                                                 const NamedValues& values) {
  auto parts = std::make_shared<NewOptimizerParts>();
  for (const auto& options : items_of_part(values, "options", optimizer.param_groups().size())) {
    parts->options.push_back(made_of<std::unique_ptr<optim::OptimizerOptions>>(
        options, "options of group " + std::to_string(parts->options.size()), kind.make_options));
  }
  const std::vector<GroupedParameter> parameters = distinct_in_groups(optimizer);
  TakenStorages taken;
  const auto states = items_of_part(values, "state", parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (states[i].isNone()) continue;
    const auto& [parameter, group] = parameters[i];
    const auto make = [&](const NamedValues& state) {
      return kind.make_state(fitting_state(state, parameter, i, taken));
    };
    auto state = made_of<std::unique_ptr<optim::OptimizerParamState>>(
        states[i], "state of parameter " + std::to_string(i), make);
    const char* missing = kind.missing(*parts->options[group], *state);
    TORCH_CHECK(missing == nullptr, "the optimizer's state of parameter ", i, ": its '", missing,
                "' is missing or makes no sense");
    parts->states.emplace_back(parameter.unsafeGetTensorImpl(), std::move(state));
  }
  return parts;
}

void put_parts(optim::Optimizer& optimizer, NewOptimizerParts& parts) {
  for (size_t i = 0; i < parts.options.size(); ++i) {
    optimizer.param_groups()[i].set_options(std::move(parts.options[i]));
  }
  optimizer.state().clear();
  for (auto& [parameter, state] : parts.states) optimizer.state()[parameter] = std::move(state);
}

}  // namespace

int64_t repeated_parameter(const optim::Optimizer& optimizer) {
  std::unordered_set<const at::TensorImpl*> seen;
  int64_t index = 0;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      if (!seen.insert(parameter.unsafeGetTensorImpl()).second) return index;
      ++index;
    }
  }
  return -1;
}

NamedValues optimizer_values(const optim::Optimizer& optimizer) {
  NamedValues values{{"class", class_name(typeid(optimizer))},
                     {"parameters", all_shapes(optimizer)}};
  const OptimizerKind* kind = find_kind(optimizer);
  if (kind == nullptr) {
    values.set("archive", archive_of(optimizer));
    return values;
  }
  values.set("options", list_of_values(optimizer.param_groups(), [&](const auto& group) {
               return to_value(kind->options(group.options()));
             }));
  values.set("state",
             list_of_values(distinct_in_groups(optimizer), [&](const GroupedParameter& parameter) {
               const auto found = optimizer.state().find(parameter.tensor.unsafeGetTensorImpl());
               return found == optimizer.state().end() ? c10::IValue()
                                                       : to_value(kind->state(*found->second));
             }));
  return values;
}

std::function<void()> optimizer_restorer(optim::Optimizer& optimizer, const NamedValues& values) {
  const c10::IValue& was = optimizer_part(values, "class");
  const std::string now = class_name(typeid(optimizer));
  TORCH_CHECK(was == c10::IValue(now), "the optimizer was ", to_text(was), " and is ", now, " now");
  check_same_shapes(optimizer_part(values, "parameters"), optimizer);
  if (const OptimizerKind* kind = find_kind(optimizer)) {
    auto parts = checked_parts(optimizer, *kind, values);
    return [&optimizer, parts] { put_parts(optimizer, *parts); };
  }
  TORCH_CHECK(repeated_parameter(optimizer) < 0, "the ", now,
              " holds a parameter twice, and LibTorch cannot load such an optimizer: make it of "
              "distinct_parameters(model)");
  const c10::IValue& archive = optimizer_part(values, "archive");
  TORCH_CHECK(archive.isTensor() && archive.toTensor().scalar_type() == at::kByte &&
                  archive.toTensor().dim() == 1,
              "the optimizer's 'archive' is no tensor of bytes");
  return
      [&optimizer, bytes = archive.toTensor().contiguous()] { restore_archive(optimizer, bytes); };
}

}  // namespace winnow::internal
