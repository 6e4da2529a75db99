#include "winnow/checkpoint/prune.h"

#include <cstdio>

#include "base/status_macros.h"
#include "commands.h"
#include "console.h"
#include "json_report.h"
#include "progress_bar.h"
#include "settings_flags.h"
#include "table.h"
#include "threads/tbb_parallel_for.h"
#include "units.h"
#include "winnow/io/escape_name.h"

namespace winnow::cli {
namespace {

using Align = Table::Align;

std::string level_text(const PruneSettings& settings, const TensorReport& report) {
  // The level is 1 then, of which N values of each block are kept.
  if (const auto nm = nm_text(settings)) return *nm;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %%", 100 * report.sparsity_level);
  return text;
}

std::string tensor_table(const PruneSettings& settings, const PruneResult& result,
                         bool list_skipped) {
  Table table({{"tensor", Align::kLeft},
               {"dtype", Align::kLeft},
               {"shape", Align::kLeft},
               {"level", Align::kRight},
               {"zeros", Align::kRight}});
  for (const TensorReport& report : result.tensors) {
    const TensorInfo& tensor = report.tensor;
    if (report.skipped && !list_skipped) continue;
    std::vector<std::string> row = {escape_name(tensor.name), std::string(dtype_name(tensor.dtype)),
                                    shape_text(tensor.shape)};
    if (report.skipped) {
      row.push_back("kept");
      row.push_back(std::string(skip_reason_text(*report.skipped)));
    } else {
      row.push_back(level_text(settings, report));
      row.push_back(share_text(report.zeros_after, tensor.numel()));
    }
    table.add(std::move(row));
  }
  return table.text();
}

// "aliases  lm_head.weight is stored as emb.weight", a line for each.
std::string aliases_text(const PruneResult& result) {
  std::string text;
  for (const TensorReport& report : result.tensors) {
    for (const std::string& alias : report.aliases) {
      text += (text.empty() ? "aliases  " : "         ") + alias_text(alias, report.tensor) + "\n";
    }
  }
  return text;
}

// The text in brackets behind the number of tensors that are kept: where to look, and how many
// of them nobody asked to keep.
std::string kept_note(const PruneTotals& totals, bool verbose) {
  std::string note =
      totals.left_alone == 0 ? "" : count_text(totals.left_alone) + " of them by the default rule";
  if (!verbose) note += note.empty() ? "-v lists them" : "; -v lists them";
  return note.empty() ? "" : " (" + note + ")";
}

// How many rows of which tensors the rule's guard kept.
std::string kept_rows_text(const PruneResult& result, uint64_t total, bool verbose) {
  if (total == 0) return "";
  std::string text =
      "rows     " + count_text(total) + " kept whole: their norms are divided by, and 0/0 is NaN\n";
  for (const TensorReport& report : result.tensors) {
    if (!verbose || report.kept_rows == 0) continue;
    text += "         " + count_text(report.kept_rows) + " of " + escape_name(report.tensor.name) +
            "\n";
  }
  return text;
}

std::string summary(const PruneJob& job, const PruneResult& result, const RunFacts& facts,
                    bool verbose) {
  const PruneTotals& totals = result.totals;
  std::string text = tensor_table(job.settings, result, verbose);
  text += "\ntensors  " + count_text(totals.pruned_tensors) + " pruned, " +
          count_text(totals.tensors - totals.pruned_tensors) + " kept as they are" +
          kept_note(totals, verbose) + "\n";
  if (verbose) text += aliases_text(result);
  text += kept_rows_text(result, totals.kept_rows, verbose);
  text += "values   " + count_text(totals.pruned_values) + " in the pruned tensors\n";
  text += "zeros    " + count_text(totals.zeros_after) + " of them (" +
          share_text(totals.zeros_after, totals.pruned_values) + "), " +
          count_text(totals.zeros_before) + " before\n";
  text += "bytes    " + count_text(result.input_bytes) + " read, " +
          count_text(job.dry_run ? 0 : result.output_bytes) + " written\n";
  text += time_text(result.seconds, result.input_bytes, facts.peak_memory_bytes, verbose);
  text += left_out_text(result.left_out, result.left_out_values);
  text += "result   " + result_text(job.in_place ? job.input : job.output, result.written) + "\n";
  if (!job.compress) text += "note     the file is not compressed: --compress makes it small\n";
  return text;
}

// Why an empty plan is worth a word: the command did nothing that its user can have meant.
void warn_if_nothing_pruned(const PruneJob& job, const PruneResult& result) {
  if (result.totals.pruned_tensors > 0) return;
  complain(shown(job.input) + ": no tensor was pruned (-v lists the reasons)");
}

Result<PruneJob> job_from(const Arguments& arguments) {
  WINNOW_ASSIGN_OR_RETURN(PruneSettings settings, settings_from(arguments.settings));
  WINNOW_RETURN_IF_ERROR(check_target(arguments));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t memory, max_memory(arguments.run));
  return PruneJob{.input = arguments.file,
                  .output = arguments.output,
                  .settings = std::move(settings),
                  .overwrite = arguments.overwrite,
                  .compress = arguments.compress,
                  .dry_run = arguments.dry_run,
                  .overwrite_blob = arguments.overwrite_blob,
                  .max_memory = memory,
                  .in_place = arguments.in_place};
}

// The library's message, and what the tool offers, if anything.
Status with_hint(const PruneJob& job, const Status& status) {
  const char* hint = status.code() == ErrorCode::kNanValue    ? " (--nan keep ranks NaN last)"
                     : status.code() == ErrorCode::kLeftAlone ? " (--force prunes it all the same)"
                                                              : "";
  return with_output_hint(Status(status.code(), std::string(status.message()) + hint),
                          job.in_place ? job.input : job.output);
}

}  // namespace

Status run_prune(const Arguments& arguments) {
  WINNOW_ASSIGN_OR_RETURN(const PruneJob job, job_from(arguments));
  WINNOW_ASSIGN_OR_RETURN(const size_t threads, thread_count(arguments.run));
  TbbParallelFor parallel(threads);
  ProgressBar progress(arguments.run);
  Result<PruneResult> result = prune_file(Env::posix(), job, parallel, progress);
  progress.clear();
  if (!result.ok()) return with_hint(job, result.status());
  WINNOW_ASSIGN_OR_RETURN(const RunFacts facts, run_facts(threads));
  if (!arguments.run.quiet) warn_if_nothing_pruned(job, *result);
  if (arguments.run.json) return print_prune_json(job, *result, facts);
  if (arguments.run.quiet) return Status();
  return print(summary(job, *result, facts, arguments.run.verbose));
}

}  // namespace winnow::cli
