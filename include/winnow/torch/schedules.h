// Schedules that are ready made, for any value of the configuration that is a number.
//
//   winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.9});
//   sparsifier.add_data("users", model->users);
//   winnow::CubicDataScheduler scheduler(sparsifier, {.end_step = 20});   // from 0 to 0.9
//   for (int epoch = 0; epoch < epochs; ++epoch) {
//     train();
//     sparsifier.step();
//     scheduler.step();
//   }
//
// A schedule is a function of the epoch t and of base, the value that each data had when the
// schedule was constructed:
//
//   LambdaDataScheduler: base * factor(t)
//   StepDataScheduler:   base * gamma ^ floor((t - begin_step) / step_size)
//   CubicDataScheduler:  final + (initial - final) * share ^ power, fast first, slow at the end;
//                        share = 1 - (t - begin_step) / (end_step - begin_step)
//   LinearDataScheduler: the same with power 1
//
// where t is last_epoch() kept within [begin_step, end_step]; core/schedule.h has the formulas in
// full. A base that is an integer (zeros_per_block) gets integers: the nearest one, halves away
// from 0. Nothing else is clamped. Python gives the same bits.
//
// Data without such a number are refused at construction: c10::TypeError naming them. Options out
// of their range are c10::ValueError naming the field. Data that are added later are left alone,
// names that are gone are skipped. To go on from a checkpoint, construct the sparsifier and the
// scheduler as before, then load the state of both, the sparsifier's first.
//
// Source: torch.optim.lr_scheduler LambdaLR and StepLR, torch.ao.pruning CubicSL. Thread-safety:
// none, as BaseDataScheduler.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "winnow/core/schedule.h"
#include "winnow/torch/data_scheduler.h"
#include "winnow/torch/named_values.h"

namespace winnow {

/// The base of schedules that follow a formula. Derive from it, write value_at, and call start() in
/// the last line of the constructor.
class FormulaDataScheduler : public BaseDataScheduler {
 protected:
  /// c10::TypeError naming data whose value is not a number.
  FormulaDataScheduler(BaseDataSparsifier& sparsifier, const DataSchedulerOptions& options);

  /// The value of `name` at `epoch`; must depend on nothing that changes.
  /// @param base its value at construction
  virtual double value_at(int64_t epoch, const std::string& name, double base) const = 0;

  /// value_at of every name. c10::ValueError naming data whose value is not finite, or an integer's
  /// that does not fit into 64 bits.
  ScheduleValues get_schedule_param() final;
};

/// Of a LambdaDataScheduler; DataSchedulerOptions has the fields without a comment.
struct LambdaDataSchedulerOptions {
  std::string schedule_param = "sparsity_level";
  /// The factor at an epoch. Required.
  std::function<double(int64_t epoch)> factor = nullptr;
  int64_t begin_step = 0;     ///< at least 0
  int64_t end_step = kNoEnd;  ///< at least begin_step
  int64_t last_epoch = -1;
  std::function<void(const std::string& line)> verbose = nullptr;
};

/// base * factor(t). The function is not part of the state: construct with it before loading.
class LambdaDataScheduler final : public FormulaDataScheduler {
 public:
  /// Refers to the sparsifier, and sets the values of epoch last_epoch + 1 at once; so do the
  /// others.
  LambdaDataScheduler(BaseDataSparsifier& sparsifier, const LambdaDataSchedulerOptions& options);

  /// end_step; none if that is kNoEnd.
  std::optional<int64_t> final_epoch() const override;

 protected:
  double value_at(int64_t epoch, const std::string& name, double base) const override;
  NamedValues fields() const override;
  void set_fields(const NamedValues& fields) override;

 private:
  LambdaDataSchedulerOptions options_;
};

/// Of a StepDataScheduler; the same holds.
struct StepDataSchedulerOptions {
  std::string schedule_param = "sparsity_level";
  double gamma = 0.1;         ///< the factor of each stair; finite, at least 0
  int64_t step_size = 1;      ///< epochs on each stair, at least 1
  int64_t begin_step = 0;     ///< at least 0
  int64_t end_step = kNoEnd;  ///< at least begin_step
  int64_t last_epoch = -1;
  std::function<void(const std::string& line)> verbose = nullptr;
};

/// base * gamma ^ floor((t - begin_step) / step_size): a stair every step_size epochs.
class StepDataScheduler final : public FormulaDataScheduler {
 public:
  /// @param sparsifier must live as long
  StepDataScheduler(BaseDataSparsifier& sparsifier, const StepDataSchedulerOptions& options = {});

  /// The epoch of the last stair; none if end_step is kNoEnd.
  std::optional<int64_t> final_epoch() const override;

 protected:
  double value_at(int64_t epoch, const std::string& name, double base) const override;
  NamedValues fields() const override;
  void set_fields(const NamedValues& fields) override;

 private:
  StepDataSchedulerOptions options_;
};

/// Of a CubicDataScheduler; the same holds.
struct CubicDataSchedulerOptions {
  std::string schedule_param = "sparsity_level";
  double initial_value = 0;  ///< of all data; finite
  /// Of all data that are not in final_values. Unset: the base.
  std::optional<double> final_value = std::nullopt;
  /// By the data's name, for example {{"users", 0.9}}. c10::ValueError for names that the
  /// sparsifier does not have.
  NamedValues final_values = {};
  int64_t begin_step = 0;  ///< at least 0
  int64_t end_step = 100;  ///< at least begin_step
  double power = 3;        ///< of the decay; finite and above 0
  int64_t last_epoch = -1;
  std::function<void(const std::string& line)> verbose = nullptr;
};

/// The gradual pruning of Zhu and Gupta, "To prune, or not to prune" (2017), equation 1, with a
/// step at every epoch; with another `power`, the polynomial decay of that degree.
class CubicDataScheduler : public FormulaDataScheduler {
 public:
  /// @param sparsifier must live as long
  CubicDataScheduler(BaseDataSparsifier& sparsifier, const CubicDataSchedulerOptions& options = {});

  /// end_step; none if that is kNoEnd.
  std::optional<int64_t> final_epoch() const override;

 protected:
  double value_at(int64_t epoch, const std::string& name, double base) const override;
  bool uses_base() const override { return !options_.final_value; }
  NamedValues fields() const override;
  void set_fields(const NamedValues& fields) override;

 private:
  CubicDataSchedulerOptions options_;
};

/// Its `power` is not looked at.
using LinearDataSchedulerOptions = CubicDataSchedulerOptions;

/// A straight line from the initial to the final value: CubicDataScheduler with a power of 1.
class LinearDataScheduler final : public CubicDataScheduler {
 public:
  /// @param sparsifier must live as long
  LinearDataScheduler(BaseDataSparsifier& sparsifier,
                      const LinearDataSchedulerOptions& options = {});
};

}  // namespace winnow
