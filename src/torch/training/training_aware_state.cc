#include "torch/training/training_aware_state.h"

#include <string>

#include "torch/class_name.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

const char* interval_name(StepInterval interval) {
  return interval == StepInterval::kEpoch ? "epoch" : "step";
}

void check_same(const NamedValues& state, const std::string& key, const c10::IValue& expected) {
  TORCH_CHECK(state.contains(key), "Error loading TrainingAwareDataSparsity: the state has no '",
              key, "'");
  TORCH_CHECK(state.at(key) == expected, "Error loading TrainingAwareDataSparsity: ", key, " was ",
              to_text(state.at(key)), " and is ", to_text(expected),
              " now; construct it as it was when the state was saved");
}

void check_kind(const NamedValues& state, const std::string& key, bool fits) {
  TORCH_CHECK(state.contains(key) && fits, "Error loading TrainingAwareDataSparsity: '", key,
              "' is missing or of the wrong kind");
}

/// What no run has saved: it has not started.
bool is_empty(const NamedValues& state) { return state.empty(); }

bool has_int(const NamedValues& state, const char* key) {
  const c10::IValue* value = state.find(key);
  return value != nullptr && value->isInt();
}

bool has_bool(const NamedValues& state, const char* key) {
  const c10::IValue* value = state.find(key);
  return value != nullptr && value->isBool();
}

}  // namespace

std::optional<DataSparsifierState> saved_state(const NamedValues& state) {
  if (state.get<bool>("apply_to_model") || state.at("sparsifier").isNone()) return std::nullopt;
  return to_sparsifier_state(state.at("sparsifier"));
}

c10::IValue TrainingAwareDataSparsity::sparsifier_value() const {
  if (!options_.apply_to_model) return saved_ ? to_value(*saved_) : c10::IValue();
  DataSparsifierState state = data_sparsifier_->state_dict({.clone = false});
  state.container.clear();
  return to_value(state);
}

NamedValues TrainingAwareDataSparsity::state_dict() const {
  if (data_sparsifier_ == nullptr) return resumed_.value_or(NamedValues());
  const BaseDataSparsifier& sparsifier = *data_sparsifier_;
  const BaseDataScheduler& scheduler = *data_scheduler_;
  return {{"apply_to_model", options_.apply_to_model},
          {"interval", interval_name(options_.interval)},
          {"frequency", options_.frequency},
          {"sparsifier_class", class_name(typeid(sparsifier))},
          {"scheduler_class", class_name(typeid(scheduler))},
          {"batches", batches_},
          {"holding", holding_},
          {"sparsifier", sparsifier_value()},
          {"scheduler", to_value(scheduler.state_dict())}};
}

void TrainingAwareDataSparsity::load_state_dict(const NamedValues& state) {
  if (is_empty(state)) {
    resumed_.reset();
    return;
  }
  check_same(state, "apply_to_model", options_.apply_to_model);
  check_same(state, "interval", interval_name(options_.interval));
  check_same(state, "frequency", options_.frequency);
  check_kind(state, "batches", has_int(state, "batches") && state.get<int64_t>("batches") >= 0);
  check_kind(state, "holding", has_bool(state, "holding"));
  check_kind(state, "sparsifier", true);
  check_kind(state, "scheduler", true);
  const c10::IValue& sparsifier = state.at("sparsifier");
  if (options_.apply_to_model || !sparsifier.isNone()) to_sparsifier_state(sparsifier);
  to_scheduler_state(state.at("scheduler"));
  resumed_ = state;
}

void TrainingAwareDataSparsity::restore(const NamedValues& state, BaseDataSparsifier& sparsifier,
                                        BaseDataScheduler& scheduler) const {
  check_same(state, "sparsifier_class", class_name(typeid(sparsifier)));
  check_same(state, "scheduler_class", class_name(typeid(scheduler)));
  if (options_.apply_to_model) {
    sparsifier.load_masks(to_sparsifier_state(state.at("sparsifier")));
  } else if (const auto saved = saved_state(state)) {
    sparsifier.load_state_dict(*saved);
  }
  scheduler.load_state_dict(to_scheduler_state(state.at("scheduler")));
}

}  // namespace winnow
