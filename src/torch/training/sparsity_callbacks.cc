// The callbacks, and the state of TrainingAwareDataSparsity:
//
//   apply_to_model, interval, frequency   the options; loading requires the same
//   sparsifier_class, sparsifier_fields, scheduler_class   likewise
//   batches, holding
//   sparsifier   without apply_to_model, its state at the end of the last epoch, or None; otherwise
//                its masks and configurations, with an empty `_container`: the model has the data
//   scheduler    its state
#include "winnow/torch/training/sparsity_callbacks.h"

#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <optional>
#include <string>

#include "torch/support/class_name.h"
#include "torch/training/checked_copy.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
using namespace internal;

namespace {

/// Returns what the user's function `make` makes. `name` is that of the option.
template <typename Make, typename... Args>
auto made(const char* name, const Make& make, Args&... args) {
  // Checked at once: a null would otherwise crash in the middle of a hook.
  auto object = make(args...);
  TORCH_CHECK_VALUE(object != nullptr, name, " returned null");
  return object;
}

void log_levels(const torch::nn::Module& model, const BaseDataSparsifier& sparsifier,
                const LogLine& log) {
  if (!log) return;
  for (const SparsityLevel& level : sparsity_levels(model, sparsifier)) log(to_text(level));
}

// ---- the state

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

/// Returns the sparsifier's state in `state`, or nullopt if it is None.
std::optional<DataSparsifierState> saved_state(const NamedValues& state) {
  if (part(state, "sparsifier").isNone()) return std::nullopt;
  return to_sparsifier_state(part(state, "sparsifier"));
}

void check(const TrainingAwareOptions& options) {
  TORCH_CHECK_VALUE(options.make_sparsifier != nullptr, "make_sparsifier is missing");
  TORCH_CHECK_VALUE(options.make_scheduler != nullptr, "make_scheduler is missing");
  TORCH_CHECK_VALUE(options.copy_model != nullptr, "copy_model is missing");
  TORCH_CHECK_VALUE(options.frequency >= 1, "frequency: expected at least 1 batch, found ",
                    options.frequency);
  TORCH_CHECK_VALUE(options.apply_to_model || options.interval == StepInterval::kEpoch,
                    "interval: kStep needs apply_to_model, since a copy is made at the end of an "
                    "epoch only");
}

// A mask in the configuration drops values before the first step.
bool has_first_masks(const BaseDataSparsifier& sparsifier) {
  return std::ranges::any_of(sparsifier.names(), [&](const std::string& name) {
    return sparsifier.data_group(name).contains("mask");
  });
}

}  // namespace

PostTrainingDataSparsity::PostTrainingDataSparsity(PostTrainingOptions options)
    : options_(std::move(options)) {
  TORCH_CHECK_VALUE(options_.make_sparsifier != nullptr, "make_sparsifier is missing");
  TORCH_CHECK_VALUE(options_.copy_model != nullptr, "copy_model is missing");
}

void PostTrainingDataSparsity::on_fit_end(torch::nn::Module& model) {
  const auto copy = checked_copy(model, options_.copy_model);
  copy->eval();
  auto sparsifier = made("make_sparsifier", options_.make_sparsifier);
  attach_model(*copy, *sparsifier, options_.attach);
  sparsifier->step();
  sparsifier->squash_mask();
  log_levels(*copy, *sparsifier, options_.log);
  // Last: if anything above throws, the accessors return what they did.
  sparsified_ = copy;
  data_sparsifier_ = std::move(sparsifier);
}

TrainingAwareDataSparsity::TrainingAwareDataSparsity(TrainingAwareOptions options)
    : options_(std::move(options)) {
  check(options_);
}

void TrainingAwareDataSparsity::require_started(const char* hook) const {
  TORCH_CHECK(data_sparsifier_ != nullptr, hook,
              " was called before on_train_start, which makes the sparsifier");
}

// By the first parameter, held weakly: a model's address may be used again by another model.
bool TrainingAwareDataSparsity::has_run_on(const torch::nn::Module& model) const {
  const std::vector<at::Tensor> parameters = model.parameters();
  if (!seen_ || parameters.empty()) return false;
  const auto seen = seen_->lock();
  return seen.defined() && parameters.front().unsafeGetTensorImpl() == seen.get();
}

void TrainingAwareDataSparsity::on_train_start(torch::nn::Module& model) {
  std::optional<NamedValues> from = resumed_;
  if (!from && data_sparsifier_ != nullptr && has_run_on(model)) from = state_dict();
  auto sparsifier = made("make_sparsifier", options_.make_sparsifier);
  auto copy = options_.apply_to_model ? nullptr : checked_copy(model, options_.copy_model);
  attach_model(copy != nullptr ? *copy : model, *sparsifier, options_.attach);
  auto scheduler = made("make_scheduler", options_.make_scheduler, *sparsifier);
  if (from) restore(*from, *sparsifier, *scheduler);

  // Everything that can fail is done by now, so a failing hook leaves the callback as it was.
  holding_ = from ? from->get<bool>("holding") : has_first_masks(*sparsifier);
  batches_ = from ? from->get<int64_t>("batches") : 0;
  saved_ = from && copy != nullptr ? saved_state(*from) : std::nullopt;
  resumed_.reset();
  data_scheduler_ = std::move(scheduler);  // first, since the old one refers to the old sparsifier
  data_sparsifier_ = std::move(sparsifier);
  sparsified_ = std::move(copy);
  optimizer_ = nullptr;
  seen_.emplace(model.parameters().front().getIntrusivePtr());
}

void TrainingAwareDataSparsity::on_run_length(torch::nn::Module&, int64_t epochs, int64_t batches) {
  require_started("on_run_length");
  const std::optional<int64_t> last = data_scheduler_->final_epoch();
  if (!last) return;
  const int64_t now = data_scheduler_->last_epoch();
  // (batches_ + batches) / frequency - batches_ / frequency without overflow: `batches` may be the
  // largest int64.
  const int64_t steps =
      options_.interval == StepInterval::kEpoch
          ? epochs
          : batches / options_.frequency +
                (batches_ % options_.frequency + batches % options_.frequency) / options_.frequency;
  // The masks of a step have the level that was scheduled before the step.
  if (steps == 0 || steps > *last - now) return;
  TORCH_WARN("the run makes ", steps,
             " more steps of the schedule, the last with the value of step ", now + steps - 1,
             ", and the schedule goes on to step ", *last,
             ": the masks will not get to its final value. Train longer, or give it an earlier "
             "end_step");
}

void TrainingAwareDataSparsity::on_train_epoch_start(torch::nn::Module&) {
  require_started("on_train_epoch_start");
  // As upstream, which starts each epoch from its saved state.
  if (saved_) data_sparsifier_->load_state_dict(*saved_);
}

void TrainingAwareDataSparsity::on_before_optimizer_step(torch::nn::Module&,
                                                         torch::optim::Optimizer& optimizer) {
  optimizer_ = &optimizer;
}

void TrainingAwareDataSparsity::on_train_batch_end(torch::nn::Module& model, int64_t) {
  require_started("on_train_batch_end");
  ++batches_;
  if (!options_.apply_to_model) return;
  // Otherwise the optimizer has just moved dropped values away from zero.
  if (options_.interval == StepInterval::kStep && batches_ % options_.frequency == 0) {
    advance(model);
  } else if (holding_) {
    hold();
  }
}

void TrainingAwareDataSparsity::on_train_epoch_end(torch::nn::Module& model) {
  require_started("on_train_epoch_end");
  // on_train_batch_end has advanced already.
  if (options_.interval == StepInterval::kStep) return;
  if (options_.apply_to_model) {
    advance(model);
  } else {
    step_copy(model);
  }
}

void TrainingAwareDataSparsity::hold() {
  HeldMasks(*data_sparsifier_, options_.momenta_of).apply(optimizer_);
}

void TrainingAwareDataSparsity::advance(torch::nn::Module& model) {
  data_sparsifier_->step();
  hold();
  holding_ = true;
  log_levels(model, *data_sparsifier_, options_.log);
  data_scheduler_->step();
}

void TrainingAwareDataSparsity::step_copy(torch::nn::Module& model) {
  auto copy = checked_copy(model, options_.copy_model);
  // Without `attach.config`, because the schedule has changed its values: they carry over.
  attach_model(*copy, *data_sparsifier_, {.filter = options_.attach.filter, .replace = true});
  sparsified_ = std::move(copy);
  data_sparsifier_->step();
  log_levels(*sparsified_, *data_sparsifier_, options_.log);
  data_scheduler_->step();
  saved_ = data_sparsifier_->state_dict();
}

void TrainingAwareDataSparsity::on_train_end(torch::nn::Module&) {
  require_started("on_train_end");
  if (options_.apply_to_model) {
    if (holding_) hold();
    // hold() has already written the zeros into the weights.
    data_sparsifier_->squash_mask(data_sparsifier_->names(), /*leave_parametrized=*/false);
    optimizer_ = nullptr;
    return;
  }
  // The state loaded at the start of an epoch has its own tensors, which are not those of the copy.
  attach_model(*sparsified_, *data_sparsifier_,
               {.filter = options_.attach.filter, .replace = true});
  data_sparsifier_->squash_mask();
}

c10::IValue TrainingAwareDataSparsity::sparsifier_value() const {
  if (!options_.apply_to_model) return saved_ ? to_value(*saved_) : c10::IValue();
  // The weights are in the checkpoint's model already; saving them twice would double the file.
  DataSparsifierState state = data_sparsifier_->state_dict({.clone = false});
  state.container.clear();
  return to_value(state);
}

NamedValues TrainingAwareDataSparsity::state_dict() const {
  // Before the first hook, what was loaded is still the state.
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
  const auto sparsifier = made("make_sparsifier", options_.make_sparsifier);
  AttachOptions attach = options_.attach;
  attach.replace = true;  // no warnings on trial; on_train_start gives them
  attach_model(model, *sparsifier, attach);
  const auto scheduler = made("make_scheduler", options_.make_scheduler, *sparsifier);
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
