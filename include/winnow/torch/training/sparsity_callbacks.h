// Callbacks that sparsify a model after or while it trains.
//
//   auto sparsity = std::make_shared<winnow::TrainingAwareDataSparsity>(
//       winnow::TrainingAwareOptions{
//           .make_sparsifier = [] { return std::make_unique<winnow::DataNormSparsifier>(
//               winnow::DataNormSparsifierOptions{.sparsity_level = 0.9}); },
//           .make_scheduler = [](winnow::BaseDataSparsifier& sparsifier) {
//             return std::make_unique<winnow::CubicDataScheduler>(
//                 sparsifier, winnow::CubicDataSchedulerOptions{.end_step = 20}); },
//           .apply_to_model = true});
//   winnow::Trainer trainer({.max_epochs = 30, .callbacks = {sparsity}});
//
// Hooks have Lightning's names (training/callback.h), so a loop of your own calls the same ones.
//
// Source: torch.ao.pruning's PostTrainingDataSparsity and TrainingAwareDataSparsity for Lightning.
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "winnow/torch/data_scheduler.h"
#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/training/attach.h"
#include "winnow/torch/training/callback.h"
#include "winnow/torch/training/held_masks.h"

namespace winnow {

using MakeSparsifier = std::function<std::unique_ptr<BaseDataSparsifier>()>;
using MakeScheduler = std::function<std::unique_ptr<BaseDataScheduler>(BaseDataSparsifier&)>;
using CopyModel = std::function<std::shared_ptr<torch::nn::Module>(const torch::nn::Module&)>;
using LogLine = std::function<void(const std::string& line)>;

struct PostTrainingOptions {
  MakeSparsifier make_sparsifier = nullptr;  ///< required
  AttachOptions attach = {};                 ///< which parameters, and their configuration
  CopyModel copy_model = clone_model;
  LogLine log = nullptr;  ///< gets "Sparsity in layer NAME = 90.00%" for each parameter
};

/// Sparsifies a copy of the model once, when training has ended. The model itself stays as it is.
class PostTrainingDataSparsity final : public Callback {
 public:
  /// c10::ValueError where make_sparsifier or copy_model is missing.
  explicit PostTrainingDataSparsity(PostTrainingOptions options);

  /// Copies the model, in eval mode, attaches the copy to a new sparsifier, steps and squashes.
  /// A failing call leaves both accessors as they were.
  void on_fit_end(torch::nn::Module& model) override;

  /// The sparse copy; null before on_fit_end.
  const std::shared_ptr<torch::nn::Module>& sparsified() const noexcept { return sparsified_; }
  /// The sparsifier of that copy, with masks and configurations; null before on_fit_end.
  BaseDataSparsifier* data_sparsifier() const noexcept { return data_sparsifier_.get(); }

 private:
  PostTrainingOptions options_;
  std::shared_ptr<torch::nn::Module> sparsified_;
  std::unique_ptr<BaseDataSparsifier> data_sparsifier_;
};

/// How often masks and schedule advance.
enum class StepInterval : uint8_t {
  kEpoch,  ///< at the end of every epoch
  kStep,   ///< every `frequency` batches
};

struct TrainingAwareOptions {
  MakeSparsifier make_sparsifier = nullptr;  ///< required
  MakeScheduler make_scheduler = nullptr;    ///< required
  AttachOptions attach = {};                 ///< which parameters, and their configuration

  /// False, as upstream: the model trains dense, and at every epoch's end a *copy* of it is masked.
  /// True: the masks are held in the model itself. What falls stays zero, under momentum and weight
  /// decay too, and the trained model is the sparse one. No copy is made.
  bool apply_to_model = false;
  /// Only with apply_to_model. The schedule's "epoch" is then one such step.
  StepInterval interval = StepInterval::kEpoch;
  int64_t frequency = 50;                     ///< batches, with kStep; at least 1
  HeldMasks::MomentaOf momenta_of = nullptr;  ///< for optimizers of your own: held_masks.h

  CopyModel copy_model = clone_model;  ///< without apply_to_model
  LogLine log = nullptr;               ///< as in PostTrainingOptions, whenever masks advance
};

/// Sparsifies while a model trains, at a level that a schedule raises. The masks that are computed
/// at the end of epoch e (from 0), and held in e + 1, have the level that is scheduled for
/// last_epoch e; with kStep the same holds for each `frequency` batches.
///
/// A second run with the same model goes on from the masks and the schedule of the first; with
/// another model, and with a new callback, it starts anew. Whatever load_state_dict brings comes
/// first.
///
/// Resume: put model and optimizer back as they were, construct this with the same options,
/// load_state_dict, and go on with the loop from the hooks on_train_start and, in the middle of an
/// epoch, on_train_batch_start. The rest of the run is bit-identical to one that was not stopped.
class TrainingAwareDataSparsity final : public Callback {
 public:
  /// c10::ValueError for options that are missing, out of range or contradict each other.
  explicit TrainingAwareDataSparsity(TrainingAwareOptions options);

  /// Makes sparsifier and scheduler and attaches the model (apply_to_model) or a copy of it.
  void on_train_start(torch::nn::Module& model) override;
  /// Warns where the run ends before the schedule does.
  void on_run_length(torch::nn::Module& model, int64_t epochs, int64_t batches) override;
  /// Without apply_to_model, puts the sparsifier back to the state of the last epoch's end, as
  /// upstream does.
  void on_train_epoch_start(torch::nn::Module& model) override;
  /// Remembers the optimizer, whose momenta are masked too; it has to live until another takes its
  /// place here, or on_train_end has returned. A loop of your own that leaves this out
  /// still gets zeros, but momentum keeps pushing at them.
  void on_before_optimizer_step(torch::nn::Module& model,
                                torch::optim::Optimizer& optimizer) override;
  /// With apply_to_model: masks the model; with kStep it first steps where it is time to.
  void on_train_batch_end(torch::nn::Module& model, int64_t batch_idx) override;
  /// Steps the sparsifier, then the scheduler. Without apply_to_model on a fresh copy of the model.
  void on_train_epoch_end(torch::nn::Module& model) override;
  /// Squashes: the model (apply_to_model) or sparsified() has no parametrization any more.
  void on_train_end(torch::nn::Module& model) override;

  /// The sparsifier's masks, configurations and state, the scheduler's counters, batches seen; and
  /// back, before on_train_start.
  /// c10::Error naming what is missing, or of the wrong kind.
  NamedValues state_dict() const override;
  void load_state_dict(const NamedValues& state) override;

  /// Makes sparsifier and scheduler, attaches the model and loads the state into them, for a trial.
  /// c10::Error naming what another configuration has saved: options, classes, parameters, values
  /// of their configurations, the schedule.
  void check_state_dict(const NamedValues& state, torch::nn::Module& model) const override;

  /// The sparse copy; with apply_to_model null: the model is it.
  const std::shared_ptr<torch::nn::Module>& sparsified() const noexcept { return sparsified_; }
  /// Null before on_train_start, as is the next.
  BaseDataSparsifier* data_sparsifier() const noexcept { return data_sparsifier_.get(); }
  /// The schedule of data_sparsifier().
  BaseDataScheduler* data_scheduler() const noexcept { return data_scheduler_.get(); }
  /// The sparsifier's state as of the last epoch's end; none before.
  const std::optional<DataSparsifierState>& data_sparsifier_state_dict() const noexcept {
    return saved_;
  }

 private:
  void advance(torch::nn::Module& model);
  void step_copy(torch::nn::Module& model);
  void hold();
  void require_started(const char* hook) const;
  bool has_run_on(const torch::nn::Module& model) const;
  c10::IValue sparsifier_value() const;
  void check_options(const NamedValues& state) const;
  void restore(const NamedValues& state, BaseDataSparsifier& sparsifier,
               BaseDataScheduler& scheduler) const;

  TrainingAwareOptions options_;
  std::shared_ptr<torch::nn::Module> sparsified_;
  std::unique_ptr<BaseDataSparsifier> data_sparsifier_;
  std::unique_ptr<BaseDataScheduler> data_scheduler_;
  std::optional<DataSparsifierState> saved_;
  std::optional<NamedValues> resumed_;  // what load_state_dict got, until on_train_start
  const torch::optim::Optimizer* optimizer_ = nullptr;
  int64_t batches_ = 0;
  bool holding_ = false;  // whether a mask can drop anything yet
  /// The first parameter of the model of the last run, which may be gone.
  std::optional<c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>> seen_;
};

}  // namespace winnow
