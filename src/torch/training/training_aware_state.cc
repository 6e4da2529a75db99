#include "torch/training/training_aware_state.h"

#include <c10/util/Exception.h>

#include <string>

#include "torch/support/class_name.h"
#include "torch/training/callback_parts.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
using namespace internal;

namespace {

constexpr const char* kWhat = "Error loading TrainingAwareDataSparsity: ";

const char* interval_name(StepInterval interval) {
  return interval == StepInterval::kEpoch ? "epoch" : "step";
}

const c10::IValue& part(const NamedValues& state, const std::string& key) {
  const c10::IValue* value = state.find(key);
  TORCH_CHECK(value != nullptr, kWhat, "the state has no '", key, "'");
  return *value;
}

/// Checks that both values have the same text, which is also what the message shows.
void check_same(const std::string& what, const c10::IValue& was, const c10::IValue& is) {
  TORCH_CHECK(to_text(was) == to_text(is), kWhat, what, " was ", to_text(was), " and is ",
              to_text(is), " now; construct it as it was when the state was saved");
}

/// Checks that `was` has the values of `is`, except those named `but` and masks.
void check_same_values(const std::string& what, const NamedValues& was, const NamedValues& is,
                       const std::string& but) {
  for (const auto& entry : is) {
    if (entry.name == but || entry.name == "mask") continue;
    const c10::IValue* before = was.find(entry.name);
    check_same(what + entry.name, before != nullptr ? *before : c10::IValue(), entry.value);
  }
}

/// Checks that both have values for the same parameters.
void check_same_parameters(const ScheduleValues& was, const ScheduleValues& is) {
  for (const auto& item : is) {
    TORCH_CHECK(was.contains(item.key()), kWhat, "the parameter '", item.key(),
                "' was not sparsified, and the filter takes it in now");
  }
  for (const auto& item : was) {
    TORCH_CHECK(is.contains(item.key()), kWhat, "the parameter '", item.key(),
                "' was sparsified, and the filter does not take it in now");
  }
}

/// Checks that `sparsifier` and `scheduler`, both new, were constructed as those that were saved.
/// Otherwise a resumed run would silently follow another schedule.
void check_same_configuration(const NamedValues& state, const BaseDataSparsifier& sparsifier,
                              const BaseDataScheduler& scheduler,
                              const DataSchedulerState& saved_schedule) {
  check_same("the class of the sparsifier", part(state, "sparsifier_class"),
             class_name(typeid(sparsifier)));
  check_same("the class of the scheduler", part(state, "scheduler_class"),
             class_name(typeid(scheduler)));
  check_same_values("the sparsifier's ", to_named_values(part(state, "sparsifier_fields")),
                    sparsifier.class_fields(), "");
  const DataSchedulerState schedule = scheduler.state_dict();
  check_same("schedule_param", saved_schedule.schedule_param, schedule.schedule_param);
  check_same_parameters(saved_schedule.base_param, schedule.base_param);
  for (const auto& item : schedule.base_param) {
    check_same(schedule.schedule_param + " of " + item.key(), saved_schedule.base_param[item.key()],
               item.value());
  }
  // Fields of a user-defined schedule may change from step to step.
  if (dynamic_cast<const FormulaDataScheduler*>(&scheduler) == nullptr) return;
  check_same_values("the schedule's ", saved_schedule.fields, schedule.fields, "");
}

void check_same_groups(const DataSparsifierState& saved, const BaseDataSparsifier& sparsifier,
                       const std::string& schedule_param) {
  for (const std::string& name : sparsifier.names()) {
    const NamedValues* group = saved.data_groups.find(name);
    TORCH_CHECK(group != nullptr, kWhat, "the parameter '", name,
                "' was not sparsified; attach what was attached when the state was saved");
    // The scheduled value differs, because the schedule has changed it since.
    check_same_values(name + ": ", *group, sparsifier.data_group(name), schedule_param);
  }
}

}  // namespace

std::optional<DataSparsifierState> internal::saved_state(const NamedValues& state) {
  if (part(state, "sparsifier").isNone()) return std::nullopt;
  return to_sparsifier_state(part(state, "sparsifier"));
}

c10::IValue TrainingAwareDataSparsity::sparsifier_value() const {
  if (!options_.apply_to_model) return saved_ ? to_value(*saved_) : c10::IValue();
  // The weights are in the checkpoint's model already; saving them twice would double the file.
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
          {"sparsifier_fields", to_value(sparsifier.class_fields())},
          {"scheduler_class", class_name(typeid(scheduler))},
          {"batches", batches_},
          {"holding", holding_},
          {"sparsifier", sparsifier_value()},
          {"scheduler", to_value(scheduler.state_dict())}};
}

void TrainingAwareDataSparsity::check_options(const NamedValues& state) const {
  check_same("apply_to_model", part(state, "apply_to_model"), options_.apply_to_model);
  check_same("interval", part(state, "interval"), interval_name(options_.interval));
  check_same("frequency", part(state, "frequency"), options_.frequency);
  TORCH_CHECK(part(state, "batches").isInt() && part(state, "batches").toInt() >= 0, kWhat,
              "'batches' is no count");
  TORCH_CHECK(part(state, "holding").isBool(), kWhat, "'holding' is no bool");
  const bool has_masks = saved_state(state).has_value();
  TORCH_CHECK(has_masks || !options_.apply_to_model, kWhat, "'sparsifier' is None");
  to_scheduler_state(part(state, "scheduler"));
}

void TrainingAwareDataSparsity::load_state_dict(const NamedValues& state) {
  if (!state.empty()) check_options(state);
  // A state that was saved before on_train_start is empty.
  resumed_ = state.empty() ? std::nullopt : std::optional(state);
}

void TrainingAwareDataSparsity::check_state_dict(const NamedValues& state,
                                                 torch::nn::Module& model) const {
  if (state.empty()) return;
  check_options(state);
  const auto sparsifier = made_sparsifier(options_.make_sparsifier);
  AttachOptions attach = options_.attach;
  attach.replace = true;  // no warnings on trial; on_train_start gives them
  attach_model(model, *sparsifier, attach);
  const auto scheduler = made_scheduler(options_.make_scheduler, *sparsifier);
  restore(state, *sparsifier, *scheduler);
}

void TrainingAwareDataSparsity::restore(const NamedValues& state, BaseDataSparsifier& sparsifier,
                                        BaseDataScheduler& scheduler) const {
  const DataSchedulerState schedule = to_scheduler_state(part(state, "scheduler"));
  check_same_configuration(state, sparsifier, scheduler, schedule);
  if (const auto saved = saved_state(state)) {
    check_same_groups(*saved, sparsifier, schedule.schedule_param);
    if (options_.apply_to_model) {
      // The data are the model's own parameters, which are loaded with the model.
      sparsifier.load_masks(*saved);
    } else {
      sparsifier.load_state_dict(*saved);
    }
  }
  scheduler.load_state_dict(schedule);
}

}  // namespace winnow
