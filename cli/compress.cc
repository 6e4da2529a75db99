#include "winnow/checkpoint/compress.h"

#include <algorithm>
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

std::string tensor_table(const CompressResult& result) {
  Table table({{"tensor", Align::kLeft},
               {"dtype", Align::kLeft},
               {"shape", Align::kLeft},
               {"bytes", Align::kRight},
               {"stored", Align::kRight},
               {"share", Align::kRight},
               {"encoding", Align::kLeft}});
  for (const CompressedReport& report : result.tensors) {
    const TensorInfo& tensor = report.tensor;
    table.add({escape_name(tensor.name), std::string(dtype_name(tensor.dtype)),
               shape_text(tensor.shape), bytes_text(static_cast<double>(tensor.bytes())),
               bytes_text(static_cast<double>(report.stored.bytes)),
               share_text(report.stored.bytes, tensor.bytes()),
               report.stored.encoding.empty() ? "as it is" : report.stored.encoding});
  }
  return table.text();
}

std::string summary(const CompressJob& job, const CompressResult& result, const RunFacts& facts,
                    bool verbose) {
  const auto compressed = static_cast<uint64_t>(
      std::count_if(result.tensors.begin(), result.tensors.end(),
                    [](const auto& report) { return !report.stored.encoding.empty(); }));
  std::string text = verbose ? tensor_table(result) + "\n" : "";
  if (!result.tensors.empty()) {
    text += "tensors  " + count_text(compressed) + " compressed, " +
            count_text(result.tensors.size() - compressed) + " stored as they are" +
            (verbose ? "" : " (-v lists them)") + "\n";
  }
  text += "bytes    " + count_text(result.input_bytes) + " read";
  if (!job.dry_run) {
    text += ", " + count_text(result.output_bytes) + " written (" +
            share_text(result.output_bytes, result.input_bytes) + ")";
  }
  text += "\n" + time_text(result.seconds, std::max(result.input_bytes, result.output_bytes),
                           facts.peak_memory_bytes, verbose);
  text += left_out_text(result.left_out, result.left_out_values);
  text += "result   " + result_text(job.in_place ? job.input : job.output, result.written) + "\n";
  return text;
}

using Convert = Result<CompressResult> (*)(Env&, const CompressJob&, ParallelFor&, Progress&);

Status run(const Arguments& arguments, std::string_view command, Convert convert) {
  WINNOW_RETURN_IF_ERROR(check_target(arguments));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t memory, max_memory(arguments.run));
  const CompressJob job{.input = arguments.file,
                        .output = arguments.output,
                        .include = arguments.settings.include,
                        .exclude = arguments.settings.exclude,
                        .overwrite = arguments.overwrite,
                        .overwrite_blob = arguments.overwrite_blob,
                        .dry_run = arguments.dry_run,
                        .max_memory = memory,
                        .in_place = arguments.in_place};
  WINNOW_ASSIGN_OR_RETURN(const size_t threads, thread_count(arguments.run));
  TbbParallelFor parallel(threads);
  ProgressBar progress(arguments.run);
  const Result<CompressResult> result = convert(Env::posix(), job, parallel, progress);
  progress.clear();
  if (!result.ok()) return with_output_hint(result.status(), job.in_place ? job.input : job.output);
  WINNOW_ASSIGN_OR_RETURN(const RunFacts facts, run_facts(threads));
  if (arguments.run.json) return print_compress_json(command, job, *result, facts);
  if (arguments.run.quiet) return Status();
  return print(summary(job, *result, facts, arguments.run.verbose));
}

}  // namespace

Status run_compress(const Arguments& arguments) {
  return run(arguments, "compress", compress_file);
}

Status run_decompress(const Arguments& arguments) {
  return run(arguments, "decompress", decompress_file);
}

}  // namespace winnow::cli
