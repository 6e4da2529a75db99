#include "torch/training/checkpoint.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <sstream>

#include "torch/class_name.h"
#include "torch/module_tensors.h"
#include "torch/training/random_state.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

constexpr const char* kCheckpointFormat = "winnow checkpoint 1";

using Tensors = torch::OrderedDict<std::string, at::Tensor>;

at::Tensor bytes_tensor(const std::string& bytes) {
  return at::from_blob(const_cast<char*>(bytes.data()), {static_cast<int64_t>(bytes.size())},
                       at::kByte)
      .clone();
}

std::string optimizer_bytes(const torch::optim::Optimizer& optimizer) {
  torch::serialize::OutputArchive archive;
  optimizer.save(archive);
  std::ostringstream stream;
  archive.save_to(stream);
  return std::move(stream).str();
}

void load_optimizer(torch::optim::Optimizer& optimizer, const std::string& bytes) {
  torch::serialize::InputArchive archive;
  archive.load_from(bytes.data(), bytes.size());
  optimizer.load(archive);
}

/// The shapes of all that the optimizer changes, in its order.
c10::IValue parameter_shapes(const torch::optim::Optimizer& optimizer) {
  c10::impl::GenericList groups(c10::AnyType::get());
  for (const auto& group : optimizer.param_groups()) {
    c10::impl::GenericList shapes(c10::AnyType::get());
    for (const at::Tensor& parameter : group.params()) {
      const at::IntArrayRef sizes = parameter.sizes();
      shapes.push_back(
          c10::ivalue::Tuple::create(std::vector<c10::IValue>(sizes.begin(), sizes.end())));
    }
    groups.push_back(shapes);
  }
  return groups;
}

c10::IValue callbacks_value(const std::vector<std::shared_ptr<Callback>>& callbacks) {
  c10::impl::GenericList list(c10::AnyType::get());
  for (const auto& callback : callbacks) {
    const Callback& object = *callback;
    list.push_back(to_value(NamedValues{{"class", class_name(typeid(object))},
                                        {"state", to_value(callback->state_dict())}}));
  }
  return list;
}

/// Reads a checkpoint's parts; every message starts with the path.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    parts_ = to_named_values(load_torch_file(path));
    const c10::IValue* format = parts_.find("format");
    check(format != nullptr && format->isString() && format->toStringRef() == kCheckpointFormat,
          "it is no checkpoint of a Trainer (", kCheckpointFormat, ")");
  }

  template <typename... Message>
  void check(bool holds, const Message&... message) const {
    TORCH_CHECK(holds, path_, ": cannot resume: ", message...);
  }

  const c10::IValue& part(const std::string& key) const {
    check(parts_.contains(key), "it has no '", key, "'");
    return parts_.at(key);
  }

  NamedValues dict(const std::string& key) const { return dict_of(part(key), key); }

  NamedValues dict_of(const c10::IValue& value, const std::string& key) const {
    check(value.isGenericDict(), "'", key, "' is no dictionary");
    return to_named_values(value);
  }

  /// A flat tensor of bytes.
  std::string bytes(const NamedValues& dict, const std::string& key) const {
    const c10::IValue* value = dict.find(key);
    check(value != nullptr && value->isTensor() && value->toTensor().scalar_type() == at::kByte &&
              value->toTensor().dim() == 1,
          "'", key, "' is missing or no tensor of bytes");
    const at::Tensor tensor = value->toTensor().contiguous();
    return {static_cast<const char*>(tensor.const_data_ptr()), static_cast<size_t>(tensor.numel())};
  }

 private:
  std::string path_;
  NamedValues parts_;
};

TrainingProgress read_progress(const Reader& reader, int64_t batches) {
  const NamedValues values = reader.dict("progress");
  TrainingProgress progress;
  for (const auto& [key, field] :
       {std::pair{"epoch", &progress.epoch}, std::pair{"next_batch", &progress.next_batch},
        std::pair{"batches", &progress.batches}, std::pair{"global_step", &progress.global_step}}) {
    const c10::IValue* value = values.find(key);
    reader.check(value != nullptr && value->isInt() && value->toInt() >= 0, "'", key,
                 "' is missing or no count");
    *field = value->toInt();
  }
  reader.check(progress.batches == batches, "an epoch had ", progress.batches,
               " batches then, and has ", batches, " now");
  reader.check(progress.next_batch <= batches, "the next batch is ", progress.next_batch, " of ",
               batches);
  return progress;
}

using Copies = std::vector<std::pair<at::Tensor, at::Tensor>>;

bool can_be_copied(const at::Tensor& from, const at::Tensor& to) {
  return from.layout() == at::kStrided && from.sizes() == to.sizes() && from.dtype() == to.dtype();
}

/// Where each tensor of the file goes.
Copies match_model(const Reader& reader, const torch::nn::Module& model) {
  const Tensors saved = to_tensors(reader.part("model"));
  const Tensors tensors = serializable_tensors(model);
  for (const auto& item : saved) {
    reader.check(tensors.contains(item.key()), "the model has no '", item.key(), "'");
  }
  Copies copies;
  for (const auto& item : tensors) {
    const at::Tensor& to = item.value();
    const at::Tensor* from = saved.find(item.key());
    reader.check(from != nullptr, "it has no tensor '", item.key(), "'");
    reader.check(can_be_copied(*from, to), "'", item.key(), "' is a ", from->toString(),
                 " of shape ", from->sizes(), " in the file, a ", to.toString(), " of shape ",
                 to.sizes(), " in the model");
    reader.check(at::has_internal_overlap(to) != at::MemOverlap::Yes, "'", item.key(),
                 "' of the model is expanded");
    copies.emplace_back(to, *from);
  }
  return copies;
}

void check_optimizer(const Reader& reader, const NamedValues& saved,
                     const torch::optim::Optimizer& optimizer) {
  const c10::IValue* name = saved.find("class");
  const std::string now = class_name(typeid(optimizer));
  reader.check(name != nullptr && *name == c10::IValue(now), "the optimizer was ",
               name == nullptr ? "nothing" : to_text(*name), " and is ", now, " now");
  const c10::IValue* shapes = saved.find("parameters");
  const std::string shapes_now = to_text(parameter_shapes(optimizer));
  reader.check(shapes != nullptr && to_text(*shapes) == shapes_now,
               "the optimizer had parameters of shapes ",
               shapes == nullptr ? "nothing" : to_text(*shapes), " and has ", shapes_now, " now");
}

/// The state of each callback, checked.
std::vector<NamedValues> callback_states(const Reader& reader, torch::nn::Module& model,
                                         const std::vector<std::shared_ptr<Callback>>& callbacks) {
  const c10::IValue& part = reader.part("callbacks");
  reader.check(part.isList(), "'callbacks' is no list");
  reader.check(part.toListRef().size() == callbacks.size(), "there were ", part.toListRef().size(),
               " callbacks then, and there are ", callbacks.size(), " now");
  std::vector<NamedValues> states;
  for (size_t i = 0; i < callbacks.size(); ++i) {
    const Callback& callback = *callbacks[i];
    const NamedValues saved = reader.dict_of(part.toListRef()[i], "callbacks");
    const std::string now = class_name(typeid(callback));
    const c10::IValue* before = saved.find("class");
    reader.check(before != nullptr && *before == c10::IValue(now), "callback ", i, " was ",
                 before == nullptr ? "nothing" : to_text(*before), " and is ", now, " now");
    reader.check(saved.contains("state"), "the callback ", now, " has no 'state'");
    states.push_back(reader.dict_of(saved.at("state"), "state"));
    try {
      callback.check_state_dict(states.back(), model);
    } catch (const c10::Error& error) {
      reader.check(false, error.what_without_backtrace());
    }
  }
  return states;
}

/// Loads the optimizer, in the place of all that it had; one that fails halfway is put back.
void restore_optimizer(const Reader& reader, torch::optim::Optimizer& optimizer,
                       const std::string& bytes) {
  std::vector<std::unique_ptr<torch::optim::OptimizerOptions>> options;
  for (const auto& group : optimizer.param_groups()) options.push_back(group.options().clone());
  auto state = std::move(optimizer.state());
  optimizer.state().clear();  // LibTorch's load only adds
  try {
    load_optimizer(optimizer, bytes);
  } catch (const std::exception& error) {
    optimizer.state() = std::move(state);
    for (size_t i = 0; i < options.size(); ++i) {
      optimizer.param_groups()[i].set_options(std::move(options[i]));
    }
    reader.check(false, "LibTorch cannot load the optimizer: ", error.what());
  }
}

}  // namespace

void save_checkpoint(const std::string& path, const torch::nn::Module& model,
                     const torch::optim::Optimizer& optimizer,
                     const std::vector<std::shared_ptr<Callback>>& callbacks,
                     const TrainingProgress& progress) {
  const NamedValues place{{"epoch", progress.epoch},
                          {"next_batch", progress.next_batch},
                          {"batches", progress.batches},
                          {"global_step", progress.global_step}};
  const NamedValues saved_optimizer{{"class", class_name(typeid(optimizer))},
                                    {"parameters", parameter_shapes(optimizer)},
                                    {"archive", bytes_tensor(optimizer_bytes(optimizer))}};
  save_torch_file(path, to_value(NamedValues{{"format", kCheckpointFormat},
                                             {"progress", to_value(place)},
                                             {"model", to_value(serializable_tensors(model))},
                                             {"optimizer", to_value(saved_optimizer)},
                                             {"rng_state", random_state()},
                                             {"callbacks", callbacks_value(callbacks)}}));
}

Checkpoint load_checkpoint(const std::string& path, torch::nn::Module& model,
                           torch::optim::Optimizer& optimizer,
                           const std::vector<std::shared_ptr<Callback>>& callbacks,
                           int64_t batches) {
  const Reader reader(path);
  const TrainingProgress progress = read_progress(reader, batches);
  const auto copies = match_model(reader, model);
  const NamedValues saved_optimizer = reader.dict("optimizer");
  check_optimizer(reader, saved_optimizer, optimizer);
  const std::string archive = reader.bytes(saved_optimizer, "archive");
  const c10::IValue& rng = reader.part("rng_state");
  reader.check(rng.isTensor() && rng.toTensor().sizes() == random_state().sizes() &&
                   rng.toTensor().scalar_type() == at::kByte,
               "'rng_state' is no state of LibTorch's generator");
  const std::vector<NamedValues> states = callback_states(reader, model, callbacks);
  restore_optimizer(reader, optimizer, archive);  // the last that may fail

  for (size_t i = 0; i < callbacks.size(); ++i) callbacks[i]->load_state_dict(states[i]);
  const at::NoGradGuard no_grad;
  for (const auto& [to, from] : copies) to.copy_(from);
  return {progress, rng.toTensor()};
}

}  // namespace winnow
