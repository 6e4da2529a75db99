// Changes one value of every data's configuration from epoch to epoch.
//
//   class Halving : public winnow::BaseDataScheduler {
//    public:
//     explicit Halving(winnow::BaseDataSparsifier& sparsifier)
//         : BaseDataScheduler(sparsifier, {.schedule_param = "sparsity_level"}) {
//       start();
//     }
//     winnow::ScheduleValues get_schedule_param() override { ... }
//   };
//
//   for (int epoch = 0; epoch < epochs; ++epoch) {
//     train();
//     sparsifier.step();   // first the masks
//     scheduler.step();    // then the next level
//   }
//
// Source: torch.ao.pruning BaseDataScheduler; torch/schedules.h has schedules that are ready made.
#pragma once

#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/named_values.h"

namespace winnow {

/// One value for each of several data, by the data's name.
using ScheduleValues = torch::OrderedDict<std::string, c10::IValue>;

struct DataSchedulerOptions {
  /// The name of the configuration's value that is scheduled.
  std::string schedule_param = "sparsity_level";
  /// The epoch before the first: -1 to start anew. c10::ValueError below -1.
  int64_t last_epoch = -1;
  /// Gets one line for every value that is set. The library itself prints nothing.
  std::function<void(const std::string& line)> verbose = nullptr;
};

/// The result of state_dict.
struct DataSchedulerState {
  std::string schedule_param;
  ScheduleValues base_param;
  int64_t last_epoch = -1;
  int64_t step_count = 0;
  ScheduleValues last_param;
  NamedValues fields;  ///< of a subclass
};

/// The step protocol of a schedule. Holds a reference to its sparsifier; a call after that one was
/// destroyed is a c10::Error. Thread-safety: none.
class BaseDataScheduler {
 public:
  virtual ~BaseDataScheduler();
  BaseDataScheduler(const BaseDataScheduler&) = delete;
  BaseDataScheduler& operator=(const BaseDataScheduler&) = delete;

  /// Goes to the next epoch: last_epoch grows by one, the values that get_schedule_param returns
  /// are set, and the sparsifier's enable_mask_update is turned on (also if it was turned off on
  /// purpose, as upstream does). The first call after construction warns if the sparsifier has
  /// made no step since: sparsifier first, then scheduler.
  ///
  /// c10::ValueError naming it if a name is returned that the sparsifier does not have, or a
  /// value that its configuration refuses: no value is set then, but the epoch has advanced. What
  /// get_schedule_param throws passes through alike.
  void step();

  /// The value of every name as of the last step.
  const ScheduleValues& get_last_param() const noexcept { return last_param_; }
  /// The value of every name when this was constructed; None if it had none.
  const ScheduleValues& base_param() const noexcept { return base_param_; }
  /// The name of the configuration's value that is scheduled.
  const std::string& schedule_param() const noexcept { return schedule_param_; }
  /// The epoch of the last step: the options' last_epoch + 1 once constructed.
  int64_t last_epoch() const noexcept { return last_epoch_; }
  /// How often step was called, the first by start() included.
  int64_t step_count() const noexcept { return step_count_; }

  /// The epoch from which on the values stay as they are; none if that is not known. A run
  /// should not end before it.
  virtual std::optional<int64_t> final_epoch() const { return std::nullopt; }

  /// A copy of all counters and values.
  DataSchedulerState state_dict() const;

  /// Takes over such a copy. Checks nothing but the fields of a subclass, and leaves the
  /// sparsifier as it is: load the sparsifier first, then its scheduler.
  void load_state_dict(const DataSchedulerState& state);

  /// The class name, the sparsifier's text and base_param, as upstream prints it.
  std::string text() const;

 protected:
  /// Refers to the sparsifier and takes base_param from it. c10::ValueError for a last_epoch below
  /// -1.
  BaseDataScheduler(BaseDataSparsifier& sparsifier, const DataSchedulerOptions& options);

  /// The first step, which sets the values of epoch last_epoch + 1. The last line of the
  /// constructor of every concrete schedule; step() without it is a c10::Error. Warns if another
  /// scheduler has driven the same value of this sparsifier before: its last values are then the
  /// base of this one, often 0, and a schedule from 0 to 0 prunes nothing. Differs from
  /// torch.ao: there the base's constructor does it, which in C++ cannot call get_schedule_param of
  /// a class that is not constructed yet.
  void start();

  /// The values of epoch last_epoch(): name and value. Names that are left out keep theirs.
  virtual ScheduleValues get_schedule_param() = 0;

  /// Whether the values depend on base_param. Called by start().
  virtual bool uses_base() const { return true; }

  /// True only while step calls get_schedule_param.
  bool called_within_step() const noexcept { return called_within_step_; }
  /// The sparsifier; c10::Error once it was destroyed.
  BaseDataSparsifier& sparsifier() const;

  /// The fields of a subclass for state_dict, and back.
  virtual NamedValues fields() const { return {}; }
  virtual void set_fields(const NamedValues& fields) { (void)fields; }

 private:
  void advance();
  void warn_of_base();
  ScheduleValues scheduled_values();

  BaseDataSparsifier* sparsifier_;
  std::weak_ptr<void> sparsifier_alive_;
  std::string schedule_param_;
  std::function<void(const std::string&)> verbose_;
  ScheduleValues base_param_;
  ScheduleValues last_param_;
  int64_t last_epoch_;
  int64_t step_count_ = 0;
  int64_t sparsifier_steps_at_start_;
  bool called_within_step_ = false;
};

/// Writes text().
std::ostream& operator<<(std::ostream& stream, const BaseDataScheduler& scheduler);

}  // namespace winnow
