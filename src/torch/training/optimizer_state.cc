#include "torch/training/optimizer_state.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/serialize/archive.h>

#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "torch/support/class_name.h"
#include "torch/support/plain_values.h"
#include "torch/training/optimizer_fields.h"
#include "winnow/torch/torch_file.h"

namespace winnow::internal {
namespace {

namespace optim = torch::optim;

// LibTorch saves an optimizer only as an archive of its own, which is safe to load only from
// trusted files and cannot be loaded if a parameter is listed twice. Known optimizers are therefore
// saved field by field, as plain values; only others go through LibTorch's archive.

// ---- one group's options, one parameter's state

template <typename Fields, typename Base>
c10::IValue value_of_fields(const Base& base) {
  NamedValues values;
  visit_fields(dynamic_cast<const Fields&>(base), [&](const char* name, const auto& field) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, at::Tensor>) {
      values.set(name, field.defined() ? c10::IValue(field) : c10::IValue());
    } else {
      values.set(name, field);
    }
  });
  return to_value(values);
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

/// An optimizer with the classes of its options and states.
template <typename OptimizerOf, typename OptionsOf, typename StateOf>
struct OptimizerKind {
  using Optimizer = OptimizerOf;
  using Options = OptionsOf;
  using State = StateOf;
};

using KnownKinds =
    std::tuple<OptimizerKind<optim::SGD, optim::SGDOptions, optim::SGDParamState>,
               OptimizerKind<optim::Adam, optim::AdamOptions, optim::AdamParamState>,
               OptimizerKind<optim::AdamW, optim::AdamWOptions, optim::AdamWParamState>,
               OptimizerKind<optim::RMSprop, optim::RMSpropOptions, optim::RMSpropParamState>,
               OptimizerKind<optim::Adagrad, optim::AdagradOptions, optim::AdagradParamState>>;

/// Calls use(kind) if the kind of the optimizer is known; returns whether it is.
template <typename Use>
bool use_kind(const optim::Optimizer& optimizer, const Use& use) {
  const auto use_if_same = [&]<typename Kind>(Kind kind) {
    // The exact class, because a derived class may have more to save.
    const bool same = typeid(optimizer) == typeid(typename Kind::Optimizer);
    if (same) use(kind);
    return same;
  };
  return std::apply([&](auto... kinds) { return (use_if_same(kinds) || ...); }, KnownKinds());
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

/// The shapes of each group's parameters.
c10::IValue shapes_of(const optim::Optimizer& optimizer) {
  return list_of(optimizer.param_groups(), [](const auto& group) {
    return list_of(group.params(),
                   [](const at::Tensor& parameter) { return tuple_of(parameter.sizes()); });
  });
}

void check_can_be_archived(const optim::Optimizer& optimizer) {
  TORCH_CHECK_VALUE(repeated_parameter(optimizer) < 0, "the ", class_name(typeid(optimizer)),
                    " holds a parameter twice, and LibTorch cannot load such an optimizer: make it "
                    "of distinct_parameters(model)");
}

at::Tensor archive_of(const optim::Optimizer& optimizer) {
  check_can_be_archived(optimizer);
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

/// Replaces the optimizer's options and state by the archive; puts them back if loading fails.
void restore_archive(optim::Optimizer& optimizer, const at::Tensor& bytes) {
  // Clones, because LibTorch's load overwrites options in place.
  std::vector<std::unique_ptr<optim::OptimizerOptions>> options;
  for (const auto& group : optimizer.param_groups()) options.push_back(group.options().clone());
  auto state = std::move(optimizer.state());
  optimizer.state().clear();  // LibTorch's load would keep states that the archive lacks
  try {
    torch::serialize::InputArchive archive;
    archive.load_from(static_cast<const char*>(bytes.const_data_ptr()),
                      static_cast<size_t>(bytes.numel()));
    optimizer.load(archive);
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

/// Makes options or a state of a dictionary, which `checked` may change first.
template <typename Fields, typename Checked>
std::unique_ptr<Fields> made_of(const c10::IValue& value, std::unique_ptr<Fields> fields,
                                const std::string& what, const Checked& checked) {
  TORCH_CHECK(value.isGenericDict(), "the optimizer's ", what, " is no dictionary");
  try {
    set_fields_of(*fields, checked(to_named_values(value)));
    return fields;
  } catch (const c10::Error& error) {
    TORCH_CHECK(false, "the optimizer's ", what, ": ", error.what_without_backtrace());
  }
}

/// The parts that a restorer puts into the optimizer.
struct NewOptimizerParts {
  std::vector<std::unique_ptr<optim::OptimizerOptions>> options;
  std::vector<std::pair<void*, std::unique_ptr<optim::OptimizerParamState>>> states;
};

template <typename Kind>
NewOptimizerParts checked_parts(const optim::Optimizer& optimizer, const NamedValues& values,
                                Kind) {
  using Options = typename Kind::Options;
  NewOptimizerParts parts;
  for (const auto& options : items_of_part(values, "options", optimizer.param_groups().size())) {
    // Some classes have no default learning rate; the one here is replaced.
    parts.options.push_back(made_of(options, std::make_unique<Options>(Options(0.001)),
                                    c10::str("options of group ", parts.options.size()),
                                    std::identity()));
  }
  const std::vector<GroupedParameter> parameters = distinct_in_groups(optimizer);
  TakenStorages taken;
  const auto states = items_of_part(values, "state", parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    // A parameter that has had no step yet.
    if (states[i].isNone()) continue;
    const auto& [parameter, group] = parameters[i];
    auto state = made_of(
        states[i], std::make_unique<typename Kind::State>(), c10::str("state of parameter ", i),
        [&](const NamedValues& saved) { return fitting_state(saved, parameter, i, taken); });
    const char* missing = missing_in(static_cast<const Options&>(*parts.options[group]), *state);
    TORCH_CHECK(missing == nullptr, "the optimizer's state of parameter ", i, ": its '", missing,
                "' is missing or makes no sense");
    parts.states.emplace_back(parameter.unsafeGetTensorImpl(), std::move(state));
  }
  return parts;
}

void put_parts(optim::Optimizer& optimizer, NewOptimizerParts& parts) {
  for (size_t i = 0; i < parts.options.size(); ++i) {
    optimizer.param_groups()[i].set_options(std::move(parts.options[i]));
  }
  // States of parameters that the file does not have would be stale.
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
                     {"parameters", shapes_of(optimizer)}};
  const bool known = use_kind(optimizer, [&]<typename Kind>(Kind) {
    values.set("options", list_of(optimizer.param_groups(), [](const auto& group) {
                 return value_of_fields<typename Kind::Options>(group.options());
               }));
    values.set("state", list_of(distinct_in_groups(optimizer), [&](const auto& parameter) {
                 const auto found = optimizer.state().find(parameter.tensor.unsafeGetTensorImpl());
                 if (found == optimizer.state().end()) return c10::IValue();
                 return value_of_fields<typename Kind::State>(*found->second);
               }));
  });
  // Only LibTorch knows the fields of a derived or new class.
  if (!known) values.set("archive", archive_of(optimizer));
  return values;
}

std::function<void()> optimizer_restorer(optim::Optimizer& optimizer, const NamedValues& values) {
  const c10::IValue& was = optimizer_part(values, "class");
  const std::string now = class_name(typeid(optimizer));
  TORCH_CHECK(was == c10::IValue(now), "the optimizer was ", to_text(was), " and is ", now, " now");
  // Not compared as text: a small file can hold nested lists with an endless one.
  const c10::IValue& old_shapes = optimizer_part(values, "parameters");
  const c10::IValue shapes = shapes_of(optimizer);
  TORCH_CHECK(old_shapes == shapes, "the optimizer had parameters of shapes ", to_text(old_shapes),
              " and has ", to_text(shapes), " now");
  // Shared, because std::function is copied.
  const auto parts = std::make_shared<NewOptimizerParts>();
  if (use_kind(optimizer, [&](auto kind) { *parts = checked_parts(optimizer, values, kind); })) {
    return [&optimizer, parts] { put_parts(optimizer, *parts); };
  }
  check_can_be_archived(optimizer);
  const c10::IValue& archive = optimizer_part(values, "archive");
  TORCH_CHECK(archive.isTensor() && archive.toTensor().scalar_type() == at::kByte &&
                  archive.toTensor().dim() == 1,
              "the optimizer's 'archive' is no tensor of bytes");
  return
      [&optimizer, bytes = archive.toTensor().contiguous()] { restore_archive(optimizer, bytes); };
}

}  // namespace winnow::internal
