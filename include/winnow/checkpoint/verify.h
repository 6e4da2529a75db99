// Checks that one safetensors file is what prune_file makes of another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/max_memory.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/io/env.h"

namespace winnow {

/// What to check against what.
struct VerifyJob {
  std::string pruned;
  std::string original;
  /// Unset: the settings that the pruned file's metadata record.
  std::optional<PruneSettings> settings;
  uint64_t max_memory = kDefaultMaxMemory;  ///< bytes that the process may take
};

/// What was checked and found right.
struct VerifyResult {
  PruneSettings settings;  ///< those that the check was made with
  uint64_t tensors = 0;
  uint64_t pruned_tensors = 0;
  uint64_t left_alone = 0;      ///< of the others, those that the default selection keeps out
  uint64_t kept_rows = 0;       ///< of the pruned tensors: see TensorReport::kept_rows
  uint64_t values = 0;          ///< of the pruned tensors
  uint64_t dropped_values = 0;  ///< all +0.0 in the pruned file
  uint64_t bytes = 0;           ///< of data, pruned or not, compared
  StageSeconds seconds;
};

/// Calls visit(name, value) for each count.
template <typename Visit>
void visit_fields(const VerifyResult& result, const Visit& visit) {
  visit("tensors", result.tensors);
  visit("pruned_tensors", result.pruned_tensors);
  visit("left_alone", result.left_alone);
  visit("kept_rows", result.kept_rows);
  visit("values", result.values);
  visit("dropped_values", result.dropped_values);
  visit("bytes", result.bytes);
}

/// Computes the original's masks anew and compares bit for bit: every dropped value is +0.0, every
/// survivor and every tensor that is not pruned has the original's bits, the tensors have the same
/// names, order, dtypes and shapes, and the metadata have the original's entries and no others.
/// Entries whose keys begin with "winnow." may be there besides; what they say is not checked, so a
/// wrong winnow.version is no violation.
///
/// The masks are computed by the code that prune_file uses. This finds damaged files, other inputs
/// and other settings; it would not find a fault in the selection itself, which is what the tests'
/// reference is for (tests/support/reference_mask.h shares no code with the library).
///
/// Memory: as prune_file, with the headers of both files. Errors: kCheckFailed for the first
/// violation, naming the tensor, the index, what was expected and what was found; kInvalidArgument,
/// kBadSettings and kOtherRule where the settings cannot be read from the pruned file; else as
/// prune_file.
Result<VerifyResult> verify_file(Env& env, const VerifyJob& job, ParallelFor& threads,
                                 Progress& progress);

}  // namespace winnow
