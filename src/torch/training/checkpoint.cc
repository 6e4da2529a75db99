#include "torch/training/checkpoint.h"

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <set>

#include "torch/files/module_tensors.h"
#include "torch/files/value_tree.h"
#include "torch/support/class_name.h"
#include "torch/support/errors.h"
#include "torch/support/plain_values.h"
#include "torch/training/optimizer_state.h"
#include "torch/training/random_state.h"
#include "winnow/torch/torch_file.h"

namespace winnow::internal {
namespace {

constexpr const char* kCheckpointFormat = "winnow checkpoint 2";

c10::IValue callbacks_value(const std::vector<std::shared_ptr<Callback>>& callbacks) {
  return list_of(callbacks, [](const auto& callback) {
    const Callback& object = *callback;
    return to_value(NamedValues{{"class", class_name(typeid(object))},
                                {"state", to_value(object.state_dict())}});
  });
}

/// Reads the parts of a checkpoint on demand, so that another model's checkpoint is refused before
/// its large parts are read. Every message starts with the path.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), archive_(value_of(TorchArchive::open(Env::posix(), path))) {
    const auto format = archive_.root().find("format");
    const auto text = format ? format->as_string() : std::nullopt;
    check(text.has_value(), "it is no checkpoint of a Trainer (", kCheckpointFormat, ")");
    check(*text == kCheckpointFormat, "it is a '", *text, "', and this version reads a '",
          kCheckpointFormat, "'");
  }

  template <typename... Message>
  void check(bool holds, const Message&... message) const {
    TORCH_CHECK(holds, path_, ": cannot resume: ", message...);
  }

  /// Returns call(), and puts the path in front of its errors.
  template <typename Call>
  auto with_path(const Call& call) const {
    try {
      return call();
    } catch (const c10::Error& error) {
      check(false, error.what_without_backtrace());
      throw;
    }
  }

  const TorchArchive& archive() const { return archive_; }

  /// The value as stored: its tensors are not read yet.
  TorchValue stored(const char* key) const {
    const auto found = archive_.root().find(key);
    check(found.has_value(), "it has no '", key, "'");
    return *found;
  }

  c10::IValue part(const char* key) const { return value_of_node(archive_, path_, stored(key)); }

  NamedValues dict(const char* key) const { return dict_of(part(key), key); }

  NamedValues dict_of(const c10::IValue& value, const std::string& key) const {
    check(value.isGenericDict(), "'", key, "' is no dictionary");
    return to_named_values(value);
  }

 private:
  std::string path_;
  TorchArchive archive_;
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
  // With epochs of another length, next_batch would be another part of the data.
  reader.check(progress.batches == batches, "an epoch had ", progress.batches,
               " batches then, and has ", batches, " now");
  reader.check(progress.next_batch <= batches, "the next batch is ", progress.next_batch, " of ",
               batches);
  return progress;
}

/// A tensor of the file, and its destination.
using Reads = std::vector<std::pair<const TorchTensor*, at::Tensor>>;

std::string shape_of(const TorchTensor& tensor) {
  return c10::str(dtype_name(tensor.dtype), " of shape ",
                  at::IntArrayRef(std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())));
}

/// Finds the destination of each tensor and verifies all checksums. The model's tensors are then
/// read straight into their place, so resuming needs no second copy of the model.
Reads match_model(const Reader& reader, const torch::nn::Module& model) {
  const TorchValue saved = reader.stored("model");
  reader.check(saved.kind() == TorchKind::kDict, "'model' is no dictionary");
  const auto tensors = serializable_tensors(model);
  // The names in the file, to find those of the model that it lacks.
  std::set<std::string> seen;
  Reads reads;
  std::set<uint32_t> storages;
  for (size_t i = 0; i < saved.size(); ++i) {
    const std::string name(saved.key(i).as_string().value_or(""));
    const at::Tensor* to = tensors.find(name);
    reader.check(to != nullptr, "the model has no '", name, "'");
    const TorchTensor* from = saved.value(i).as_tensor();
    reader.check(from != nullptr && can_read_into(*from, *to), "'", name, "' is ",
                 from == nullptr ? "no tensor" : shape_of(*from), " in the file, a ",
                 to->toString(), " of shape ", to->sizes(), " and strides ", to->strides(),
                 " in the model");
    reader.check(from->fills(reader.archive().storages()[from->storage]), "'", name,
                 "' is a view of a larger storage, which a Trainer writes of none");
    seen.insert(name);
    storages.insert(from->storage);
    reads.emplace_back(from, *to);
  }
  for (const std::string& name : tensors.keys()) {
    reader.check(seen.contains(name), "it has no tensor '", name, "'");
  }
  // Tied tensors share a storage, whose checksum is verified once.
  for (const uint32_t storage : storages) check_ok(reader.archive().check_storage(storage));
  return reads;
}

/// Returns the checked state of each callback.
std::vector<NamedValues> callback_states(const Reader& reader, torch::nn::Module& model,
                                         const std::vector<std::shared_ptr<Callback>>& callbacks) {
  const c10::IValue part = reader.part("callbacks");
  reader.check(part.isList(), "'callbacks' is no list");
  reader.check(part.toListRef().size() == callbacks.size(), "there were ", part.toListRef().size(),
               " callbacks then, and there are ", callbacks.size(), " now");
  std::vector<NamedValues> states;
  for (size_t i = 0; i < callbacks.size(); ++i) {
    const Callback& callback = *callbacks[i];
    const NamedValues saved = reader.dict_of(part.toListRef()[i], "callbacks");
    // By class and place: callbacks have no names.
    const std::string now = class_name(typeid(callback));
    const c10::IValue* before = saved.find("class");
    reader.check(before != nullptr && *before == c10::IValue(now), "callback ", i, " was ",
                 before == nullptr ? "nothing" : to_text(*before), " and is ", now, " now");
    reader.check(saved.contains("state"), "the callback ", now, " has no 'state'");
    states.push_back(reader.dict_of(saved.at("state"), "state"));
    reader.with_path([&] { callback.check_state_dict(states.back(), model); });
  }
  return states;
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
  save_torch_file(path, to_value(NamedValues{{"format", kCheckpointFormat},
                                             {"progress", to_value(place)},
                                             {"model", to_value(serializable_tensors(model))},
                                             {"optimizer", to_value(optimizer_values(optimizer))},
                                             {"rng_state", random_state()},
                                             {"callbacks", callbacks_value(callbacks)}}));
}

Checkpoint load_checkpoint(const std::string& path, torch::nn::Module& model,
                           torch::optim::Optimizer& optimizer,
                           const std::vector<std::shared_ptr<Callback>>& callbacks,
                           int64_t batches) {
  const Reader reader(path);
  const TrainingProgress progress = read_progress(reader, batches);
  const Reads reads = match_model(reader, model);
  const auto restore_optimizer =
      reader.with_path([&] { return optimizer_restorer(optimizer, reader.dict("optimizer")); });
  const c10::IValue rng = reader.part("rng_state");
  reader.check(rng.isTensor() && rng.toTensor().sizes() == random_state().sizes() &&
                   rng.toTensor().scalar_type() == at::kByte,
               "'rng_state' is no state of LibTorch's generator");
  const std::vector<NamedValues> states = callback_states(reader, model, callbacks);
  // Nothing has been changed so far. The optimizer comes first, because LibTorch may still refuse
  // its archive; after that, only the disk can fail.
  check_ok(reader.archive().check_unchanged());
  restore_optimizer();

  for (size_t i = 0; i < callbacks.size(); ++i) callbacks[i]->load_state_dict(states[i]);
  for (const auto& [from, to] : reads) read_into(reader.archive(), *from, to);
  check_ok(reader.archive().check_unchanged());
  return {progress, rng.toTensor()};
}

}  // namespace winnow::internal
