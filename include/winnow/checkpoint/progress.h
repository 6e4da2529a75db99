// How a long call tells its caller how far it is, and learns that it should stop.
#pragma once

#include <cstdint>
#include <string_view>

namespace winnow {

/// Receives progress. This base class ignores all of it. Every member is called on the thread that
/// made the long call, never from two threads at once.
class Progress {
 public:
  virtual ~Progress() = default;

  /// A stage begins that will process `bytes` bytes of data, read and written ones both counted.
  /// `stage` is one word that outlives the call.
  virtual void begin(std::string_view /*stage*/, uint64_t /*bytes*/) {}

  /// So many bytes more of the stage are done.
  virtual void advance(uint64_t /*bytes*/) {}

  /// True to make the call return kInterrupted soon, having undone what it did.
  virtual bool cancelled() { return false; }
};

/// Wall-clock seconds that a call spent in each of its stages; 0 for a stage that it does not have.
struct StageSeconds {
  double open = 0;     ///< open the files, check the headers, make the plan
  double read = 0;     ///< read values, look for NaN, count zeros
  double select = 0;   ///< search the threshold of a global budget, without its reads; in a check
                       ///< that of each tensor
  double mask = 0;     ///< compute masks
  double apply = 0;    ///< set dropped values to zero
  double compare = 0;  ///< compare values with those of another file
  double write = 0;    ///< write to the output
  double sync = 0;     ///< make the output durable and give it its name
  double total = 0;
};

/// A stage by its name, as reports show it.
struct Stage {
  std::string_view name;
  double StageSeconds::*seconds;
};

/// All stages, in the order in which reports list them; `total` is none of them.
inline constexpr Stage kStages[] = {
    {"open", &StageSeconds::open},     {"read", &StageSeconds::read},
    {"select", &StageSeconds::select}, {"mask", &StageSeconds::mask},
    {"apply", &StageSeconds::apply},   {"compare", &StageSeconds::compare},
    {"write", &StageSeconds::write},   {"sync", &StageSeconds::sync},
};

/// Calls visit(name, seconds) for each stage and "total".
template <typename Visit>
void visit_fields(const StageSeconds& seconds, const Visit& visit) {
  for (const Stage& stage : kStages) visit(stage.name, seconds.*stage.seconds);
  visit("total", seconds.total);
}

}  // namespace winnow
