#include "json_report.h"

#include <sys/resource.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "console.h"
#include "exit_code.h"
#include "winnow/base/version.h"
#include "winnow/kernels/simd_level.h"

namespace winnow::cli {
namespace {

using nlohmann::json;

// Tensor names are UTF-8; paths need not be, and what is not becomes U+FFFD.
std::string dump(const json& object, int indent = 2) {
  return object.dump(indent, ' ', false, json::error_handler_t::replace) + "\n";
}

// Prints `object` with a field "tensors" that holds tensor_json(entry) of each entry, of which only
// one exists at a time.
template <typename Entries, typename TensorJson>
Status print_with_tensors(json object, const Entries& entries, const TensorJson& tensor_json) {
  constexpr size_t kPiece = size_t{1} << 20;  // printed when there are so many bytes of it
  object["tensors"] = json::array();
  const std::string frame = dump(object);
  const std::string_view field = "\n  \"tensors\": [";  // strings in JSON hold no raw newline
  const size_t inside = frame.find(field) + field.size();
  std::string text = frame.substr(0, inside);
  const char* separator = "\n    ";
  for (const auto& entry : entries) {
    text += separator + dump(tensor_json(entry), -1);
    text.pop_back();  // the newline
    separator = ",\n    ";
    if (text.size() < kPiece) continue;
    WINNOW_RETURN_IF_ERROR(print(text));
    text.clear();
  }
  return print(text + (std::empty(entries) ? "" : "\n  ") + frame.substr(inside));
}

json settings_json(const PruneSettings& settings) { return json::parse(config_text(settings)); }

json seconds_json(const StageSeconds& seconds) {
  json object = {{"total", seconds.total}};
  for (const Stage& stage : kStages) object[std::string(stage.name)] = seconds.*stage.seconds;
  return object;
}

json tensor_json(const TensorInfo& tensor) {
  return {{"name", tensor.name},
          {"dtype", dtype_name(tensor.dtype)},
          {"shape", tensor.shape},
          {"values", tensor.numel()},
          {"bytes", tensor.bytes()}};
}

// The same with the tensor's other names, if it has any.
json tensor_json(const TensorInfo& tensor, const std::vector<std::string>& aliases) {
  json object = tensor_json(tensor);
  if (!aliases.empty()) object["aliases"] = aliases;
  return object;
}

// JSON has no infinity: the text "Infinity" or "-Infinity" stands for it.
json number_json(double value) {
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

json inspected_json(const InspectedTensor& entry) {
  json object = tensor_json(entry.tensor, entry.aliases);
  object["data_offsets"] = {entry.tensor.begin, entry.tensor.end};
  if (!entry.stats) return object;
  const ValueStats& stats = *entry.stats;
  object["stats"] = {{"zeros", stats.zeros},           {"nans", stats.nans},
                     {"infinities", stats.infinities}, {"min", number_json(stats.min)},
                     {"max", number_json(stats.max)},  {"mean_abs", stats.mean_abs}};
  return object;
}

json report_json(const TensorReport& report) {
  json object = tensor_json(report.tensor, report.aliases);
  object["pruned"] = !report.skipped;
  if (report.skipped) {
    object["skipped"] = skip_reason_text(*report.skipped);
    object["reason"] = skip_reason_code(*report.skipped);
    return object;
  }
  object["sparsity_level"] = report.sparsity_level;
  object["blocks"] = report.blocks;
  object["selected_blocks"] = report.selected_blocks;
  object["kept_rows"] = report.kept_rows;
  object["zeros_before"] = report.zeros_before;
  object["zeros_after"] = report.zeros_after;
  return object;
}

json totals_json(const PruneTotals& totals) {
  return {{"tensors", totals.tensors},
          {"pruned_tensors", totals.pruned_tensors},
          {"values", totals.values},
          {"pruned_values", totals.pruned_values},
          {"blocks", totals.blocks},
          {"selected_blocks", totals.selected_blocks},
          {"left_alone", totals.left_alone},
          {"kept_rows", totals.kept_rows},
          {"zeros_before", totals.zeros_before},
          {"zeros_after", totals.zeros_after}};
}

void add_facts(json& object, const RunFacts& facts) {
  object["version"] = WINNOW_VERSION;
  object["threads"] = facts.threads;
  object["simd_level"] = facts.simd_level;
  object["peak_memory_bytes"] = facts.peak_memory_bytes;
}

// The peak of this program alone. getrusage's figure outlives exec: it can be that of a large
// parent which forked, so it only serves if there is no /proc.
uint64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

Result<RunFacts> run_facts(size_t threads) {
  WINNOW_ASSIGN_OR_RETURN(const SimdLevel level, active_simd_level());
  return RunFacts{.threads = threads,
                  .simd_level = std::string(simd_level_name(level)),
                  .peak_memory_bytes = peak_memory_bytes()};
}

Status print_inspect_json(const std::string& path, const Inspection& inspection) {
  json dtypes = json::object(), metadata = json::object();
  for (const DTypeTotal& total : inspection.dtypes) {
    dtypes[std::string(dtype_name(total.dtype))] = {
        {"tensors", total.tensors}, {"values", total.values}, {"bytes", total.bytes}};
  }
  for (const auto& [key, value] : inspection.metadata) metadata[key] = value;
  json object = {{"command", "inspect"},
                 {"version", WINNOW_VERSION},
                 {"file", path},
                 {"file_bytes", inspection.file_bytes},
                 {"header_bytes", inspection.header_bytes},
                 {"metadata", std::move(metadata)},
                 {"dtypes", std::move(dtypes)},
                 {"seconds", seconds_json(inspection.seconds)}};
  return print_with_tensors(std::move(object), inspection.tensors, inspected_json);
}

Status print_prune_json(const PruneJob& job, const PruneResult& result, const RunFacts& facts) {
  json object = {
      {"command", "prune"},
      {"input", job.input},
      {"output", job.dry_run ? json(nullptr) : json(job.output)},
      {"written", job.dry_run ? json(nullptr) : json(result.written)},
      {"dry_run", job.dry_run},
      {"settings", settings_json(job.settings)},
      {"input_bytes", result.input_bytes},
      {"output_bytes", result.output_bytes},
      {"totals", totals_json(result.totals)},
      {"seconds", seconds_json(result.seconds)},
      {"bytes_per_second", static_cast<double>(result.input_bytes) / result.seconds.total}};
  add_facts(object, facts);
  return print_with_tensors(std::move(object), result.tensors, report_json);
}

std::string verify_json(const VerifyJob& job, const VerifyResult& result, const RunFacts& facts) {
  json object = {{"command", "verify"},
                 {"file", job.pruned},
                 {"against", job.original},
                 {"ok", true},
                 {"settings", settings_json(result.settings)},
                 {"settings_from", job.settings ? "flags" : "metadata"},
                 {"totals",
                  {{"tensors", result.tensors},
                   {"pruned_tensors", result.pruned_tensors},
                   {"left_alone", result.left_alone},
                   {"kept_rows", result.kept_rows},
                   {"pruned_values", result.values},
                   {"dropped_values", result.dropped_values},
                   {"bytes", result.bytes}}},
                 {"seconds", seconds_json(result.seconds)},
                 {"bytes_per_second", static_cast<double>(result.bytes) / result.seconds.total}};
  add_facts(object, facts);
  return dump(object);
}

std::string error_json(const Status& status) {
  return dump({{"error",
                {{"code", status.code().name},
                 {"message", status.message()},
                 {"exit_code", static_cast<int>(exit_code(status.code()))}}}});
}

}  // namespace winnow::cli
