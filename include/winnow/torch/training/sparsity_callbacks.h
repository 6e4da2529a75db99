// Callbacks that sparsify a model after training or during it.
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
// Hooks have Lightning's names (training/callback.h), and your own training loop can call them.
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

/// Returns a new sparsifier without data.
using MakeSparsifier = std::function<std::unique_ptr<BaseDataSparsifier>()>;
/// Returns a new scheduler of the sparsifier.
using MakeScheduler = std::function<std::unique_ptr<BaseDataScheduler>(BaseDataSparsifier&)>;
/// Returns a deep copy of the model, as clone_model does.
using CopyModel = std::function<std::shared_ptr<torch::nn::Module>(const torch::nn::Module&)>;
/// Gets one line for people, without a newline.
using LogLine = std::function<void(const std::string& line)>;

/// Options of PostTrainingDataSparsity.
struct PostTrainingOptions {
  MakeSparsifier make_sparsifier = nullptr;  ///< required
  AttachOptions attach = {};                 ///< which parameters, and their configuration
  CopyModel copy_model = clone_model;
  LogLine log = nullptr;  ///< gets "Sparsity in layer NAME = 90.00%" for each parameter
};

/// Sparsifies a copy of the model once, when training has ended. The model itself is not changed.
class PostTrainingDataSparsity final : public Callback {
 public:
  /// Throws c10::ValueError if make_sparsifier or copy_model is null.
  explicit PostTrainingDataSparsity(PostTrainingOptions options);

  /// Copies the model, puts the copy into eval mode, attaches it to a new sparsifier, steps and
  /// squashes. A failing call does not change what the accessors return.
  void on_fit_end(torch::nn::Module& model) override;

  /// Returns the sparse copy; null before on_fit_end.
  const std::shared_ptr<torch::nn::Module>& sparsified() const noexcept { return sparsified_; }
  /// Returns the sparsifier of that copy, with masks and configurations; null before on_fit_end.
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

/// Options of TrainingAwareDataSparsity.
struct TrainingAwareOptions {
  MakeSparsifier make_sparsifier = nullptr;  ///< required
  MakeScheduler make_scheduler = nullptr;    ///< required
  AttachOptions attach = {};                 ///< which parameters, and their configuration

  /// If false, as upstream does, the model trains dense, and a *copy* of it is masked at the end of
  /// every epoch. If true, the masks are held in the model itself: dropped values stay zero despite
  /// momentum and weight decay, and the trained model is sparse. No copy is made.
  bool apply_to_model = false;
  /// How often masks and schedule advance. kStep needs apply_to_model; the schedule's "epoch" is
  /// then one such step.
  StepInterval interval = StepInterval::kEpoch;
  int64_t frequency = 50;                     ///< in batches, for kStep; at least 1
  HeldMasks::MomentaOf momenta_of = nullptr;  ///< for other optimizers, see held_masks.h

  CopyModel copy_model = clone_model;  ///< only used without apply_to_model
  LogLine log = nullptr;               ///< as in PostTrainingOptions, whenever masks advance
};

/// Sparsifies a model while it trains, at a level that a schedule raises. The masks that are
/// computed at the end of epoch e (counted from 0) and held in epoch e + 1 have the level that is
/// scheduled for last_epoch e. With kStep, a period of `frequency` batches takes the place of an
/// epoch.
///
/// A second run with the same model continues with the masks and the schedule of the first. A run
/// with another model or a new callback starts from the beginning. A state from load_state_dict
/// takes precedence.
///
/// To resume, restore model and optimizer, construct this object with the same options, call
/// load_state_dict, and continue the loop with the hooks on_train_start and, in the middle of an
/// epoch, on_train_batch_start. The rest of the run is bit-identical to one that was not stopped.
class TrainingAwareDataSparsity final : public Callback {
 public:
  /// Throws c10::ValueError for options that are missing, out of range or contradict each other.
  explicit TrainingAwareDataSparsity(TrainingAwareOptions options);

  /// Makes sparsifier and scheduler, and attaches the model (apply_to_model) or a copy of it.
  void on_train_start(torch::nn::Module& model) override;
  /// Warns if the run ends before the schedule does.
  void on_run_length(torch::nn::Module& model, int64_t epochs, int64_t batches) override;
  /// Without apply_to_model, resets the sparsifier to its state at the end of the last epoch, as
  /// upstream does.
  void on_train_epoch_start(torch::nn::Module& model) override;
  /// Remembers the optimizer, whose momenta are masked too. It must live until another optimizer is
  /// passed here or on_train_end has returned. If your loop does not call this hook, dropped values
  /// are still zero, but momentum keeps moving them in each step.
  void on_before_optimizer_step(torch::nn::Module& model,
                                torch::optim::Optimizer& optimizer) override;
  /// With apply_to_model, masks the model; with kStep, first steps after every `frequency` batches.
  void on_train_batch_end(torch::nn::Module& model, int64_t batch_idx) override;
  /// Steps the sparsifier and then the scheduler; without apply_to_model, on a new copy of the
  /// model. Does nothing with kStep.
  void on_train_epoch_end(torch::nn::Module& model) override;
  /// Squashes the masks: afterwards the model (apply_to_model) or sparsified() has no
  /// parametrizations.
  void on_train_end(torch::nn::Module& model) override;

  /// Returns the sparsifier's masks, configurations and state, the scheduler's counters and the
  /// number of batches seen.
  NamedValues state_dict() const override;
  /// Loads what state_dict returned; call it before on_train_start. Throws c10::Error, naming the
  /// entry, if something is missing or of the wrong kind.
  void load_state_dict(const NamedValues& state) override;

  /// Makes a sparsifier and a scheduler on trial, attaches the model and loads the state into them.
  /// Throws c10::Error, naming the difference, if the state was saved with other options, classes,
  /// parameters, configurations or another schedule.
  void check_state_dict(const NamedValues& state, torch::nn::Module& model) const override;

  /// Returns the sparse copy; null with apply_to_model, where the model itself is sparse.
  const std::shared_ptr<torch::nn::Module>& sparsified() const noexcept { return sparsified_; }
  /// Returns the sparsifier; null before on_train_start.
  BaseDataSparsifier* data_sparsifier() const noexcept { return data_sparsifier_.get(); }
  /// Returns the scheduler of data_sparsifier(); null before on_train_start.
  BaseDataScheduler* data_scheduler() const noexcept { return data_scheduler_.get(); }
  /// Returns the sparsifier's state at the end of the last epoch; nullopt before.
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
