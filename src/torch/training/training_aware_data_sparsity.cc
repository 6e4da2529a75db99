#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "torch/training/callback_parts.h"
#include "torch/training/training_aware_state.h"

namespace winnow {
using namespace internal;

namespace {

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

std::unique_ptr<BaseDataSparsifier> internal::made_sparsifier(const MakeSparsifier& make) {
  auto sparsifier = make();
  TORCH_CHECK_VALUE(sparsifier != nullptr, "make_sparsifier returned null");
  return sparsifier;
}

std::unique_ptr<BaseDataScheduler> internal::made_scheduler(const MakeScheduler& make,
                                                            BaseDataSparsifier& sparsifier) {
  auto scheduler = make(sparsifier);
  TORCH_CHECK_VALUE(scheduler != nullptr, "make_scheduler returned null");
  return scheduler;
}

void internal::log_levels(const torch::nn::Module& model, const BaseDataSparsifier& sparsifier,
                          const LogLine& log) {
  if (!log) return;
  for (const SparsityLevel& level : sparsity_levels(model, sparsifier)) log(to_text(level));
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
  auto sparsifier = made_sparsifier(options_.make_sparsifier);
  auto copy = options_.apply_to_model ? nullptr : checked_copy(model, options_.copy_model);
  attach_model(copy != nullptr ? *copy : model, *sparsifier, options_.attach);
  auto scheduler = made_scheduler(options_.make_scheduler, *sparsifier);
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

}  // namespace winnow
