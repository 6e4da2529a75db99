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

#include "torch/class_name.h"
#include "torch/training/optimizer_fields.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

namespace optim = torch::optim;

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

/// How the options and states of one class of optimizer are read and made.
struct OptimizerKind {
  NamedValues (*options)(const optim::OptimizerOptions&);
  std::unique_ptr<optim::OptimizerOptions> (*make_options)(const NamedValues&);
  NamedValues (*state)(const optim::OptimizerParamState&);
  std::unique_ptr<optim::OptimizerParamState> (*make_state)(const NamedValues&);
};

template <typename Options, typename State>
OptimizerKind kind_of() {
  return {
      .options =
          [](const optim::OptimizerOptions& options) {
            return values_of_fields(dynamic_cast<const Options&>(options));
          },
      .make_options = [](const NamedValues& values) -> std::unique_ptr<optim::OptimizerOptions> {
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
      }};
}

/// By the exact class: one that is derived may have more to save. Null for others.
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

std::vector<at::Tensor> distinct_in_groups(const optim::Optimizer& optimizer) {
  std::vector<at::Tensor> distinct;
  std::unordered_set<const at::TensorImpl*> seen;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      if (seen.insert(parameter.unsafeGetTensorImpl()).second) distinct.push_back(parameter);
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
  std::string bytes;
  archive.save_to([&](const void* data, size_t size) {
    bytes.append(static_cast<const char*>(data), size);
    return size;
  });
  const at::Tensor tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

void load_archive(optim::Optimizer& optimizer, const at::Tensor& bytes) {
  torch::serialize::InputArchive archive;
  archive.load_from(static_cast<const char*>(bytes.const_data_ptr()),
                    static_cast<size_t>(bytes.numel()));
  optimizer.load(archive);
}

/// Loads the archive in the place of all that the optimizer had; one that fails is put back.
void restore_archive(optim::Optimizer& optimizer, const at::Tensor& bytes) {
  std::vector<std::unique_ptr<optim::OptimizerOptions>> options;
  for (const auto& group : optimizer.param_groups()) options.push_back(group.options().clone());
  auto state = std::move(optimizer.state());
  optimizer.state().clear();  // LibTorch's load only adds
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

/// The items of a list that has as many as there are.
c10::ArrayRef<c10::IValue> items_of_part(const NamedValues& values, const char* key, size_t count) {
  const c10::IValue& value = optimizer_part(values, key);
  TORCH_CHECK(value.isList() && value.toListRef().size() == count, "the optimizer's '", key,
              "' is no list of ", count, " items");
  return value.toListRef();
}

/// The tensors of a state have the parameter's shape and dtype and are where it is.
void check_state_fits(const NamedValues& state, const at::Tensor& parameter, size_t index) {
  for (const auto& entry : state) {
    if (!entry.value.isTensor()) continue;
    const at::Tensor& tensor = entry.value.toTensor();
    TORCH_CHECK(tensor.sizes() == parameter.sizes() && tensor.device() == parameter.device() &&
                    tensor.scalar_type() == parameter.scalar_type(),
                "the optimizer's ", entry.name, " of parameter ", index, " is a ",
                tensor.toString(), " of shape ", tensor.sizes(), ", the parameter a ",
                parameter.toString(), " of shape ", parameter.sizes());
  }
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

/// What a restorer is to put in; shared, because functions are copied.
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
  const std::vector<at::Tensor> parameters = distinct_in_groups(optimizer);
  const auto states = items_of_part(values, "state", parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (states[i].isNone()) continue;
    const auto make = [&](const NamedValues& state) {
      check_state_fits(state, parameters[i], i);
      return kind.make_state(state);
    };
    parts->states.emplace_back(parameters[i].unsafeGetTensorImpl(),
                               made_of<std::unique_ptr<optim::OptimizerParamState>>(
                                   states[i], "state of parameter " + std::to_string(i), make));
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
             list_of_values(distinct_in_groups(optimizer), [&](const at::Tensor& parameter) {
               const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
               return found == optimizer.state().end() ? c10::IValue()
                                                       : to_value(kind->state(*found->second));
             }));
  return values;
}

std::function<void()> optimizer_restorer(optim::Optimizer& optimizer, const NamedValues& values) {
  const c10::IValue& was = optimizer_part(values, "class");
  const std::string now = class_name(typeid(optimizer));
  TORCH_CHECK(was == c10::IValue(now), "the optimizer was ", to_text(was), " and is ", now, " now");
  const std::string shapes = to_text(optimizer_part(values, "parameters"));
  const std::string shapes_now = to_text(all_shapes(optimizer));
  TORCH_CHECK(shapes == shapes_now, "the optimizer had parameters of shapes ", shapes, " and has ",
              shapes_now, " now");
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

}  // namespace winnow
