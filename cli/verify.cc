#include "winnow/checkpoint/verify.h"

#include "base/status_macros.h"
#include "commands.h"
#include "console.h"
#include "json_report.h"
#include "progress_bar.h"
#include "settings_flags.h"
#include "threads/tbb_parallel_for.h"
#include "units.h"

namespace winnow::cli {
namespace {

std::string summary(const VerifyJob& job, const VerifyResult& result, const RunFacts& facts,
                    bool verbose) {
  std::string text = "ok       " + shown(job.pruned) + " is " + shown(job.original) + ", pruned\n";
  text += "tensors  " + count_text(result.pruned_tensors) + " pruned, " +
          count_text(result.tensors - result.pruned_tensors) + " equal byte for byte" +
          (result.left_alone == 0
               ? ""
               : " (" + count_text(result.left_alone) + " of them by the default rule)") +
          "\n";
  if (result.kept_rows > 0) {
    text += "rows     " + count_text(result.kept_rows) + " kept whole, as their norms ask for\n";
  }
  text += "values   " + count_text(result.dropped_values) + " of " + count_text(result.values) +
          " dropped and +0, " + count_text(result.values - result.dropped_values) +
          " equal bit for bit\n";
  text +=
      "settings " + config_text(result.settings) + (job.settings ? " (flags)\n" : " (metadata)\n");
  text += time_text(result.seconds, result.bytes, facts.peak_memory_bytes, verbose);
  return text;
}

// The library's message; if the recorded settings are at fault, how to do without them. Flags
// mean today's rule: they do not help with a file of another one.
Status with_hint(const Status& status, bool flags_given) {
  if (status.code() == ErrorCode::kOtherRule) {
    return Status(status.code(), std::string(status.message()) +
                                     " (verify it with the winnow that winnow.version names)");
  }
  const bool settings =
      status.code() == ErrorCode::kInvalidArgument || status.code() == ErrorCode::kBadSettings;
  if (!settings || flags_given) return status;
  return Status(status.code(), std::string(status.message()) +
                                   " (give the flags that it was pruned with, such as -s 0.8)");
}

}  // namespace

Status run_verify(const Arguments& arguments) {
  VerifyJob job{.pruned = arguments.file, .original = arguments.against, .settings = std::nullopt};
  // Without flags, the library takes the settings that the file records.
  if (arguments.settings.any()) {
    WINNOW_ASSIGN_OR_RETURN(job.settings, settings_from(arguments.settings));
  }
  WINNOW_ASSIGN_OR_RETURN(job.max_memory, max_memory(arguments.run));
  WINNOW_ASSIGN_OR_RETURN(const size_t threads, thread_count(arguments.run));
  TbbParallelFor parallel(threads);
  ProgressBar progress(arguments.run);
  const Result<VerifyResult> checked = verify_file(Env::posix(), job, parallel, progress);
  progress.clear();
  if (!checked.ok()) return with_hint(checked.status(), job.settings.has_value());
  const VerifyResult& result = *checked;
  WINNOW_ASSIGN_OR_RETURN(const RunFacts facts, run_facts(threads));
  if (arguments.run.json) return print(verify_json(job, result, facts));
  if (arguments.run.quiet) return Status();
  return print(summary(job, result, facts, arguments.run.verbose));
}

}  // namespace winnow::cli
