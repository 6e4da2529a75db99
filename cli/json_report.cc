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

// JSON has no infinity: the text "Infinity" or "-Infinity" stands for it.
json value_json(double value) {
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

json value_json(const auto& value) { return value; }

// The fields that visit_fields lists of the parts, in one object.
json fields_json(const auto&... parts) {
  json object;
  const auto add = [&](std::string_view name, const auto& value) {
    object[std::string(name)] = value_json(value);
  };
  (visit_fields(parts, add), ...);
  return object;
}

// An entry of the list of tensors; a tensor without other names has no field for them.
json entry_json(const auto& entry, const auto&... parts) {
  json object = fields_json(entry.tensor, parts...);
  if (!entry.aliases.empty()) object["aliases"] = entry.aliases;
  return object;
}

// How a tensor is stored, if it is compressed.
void add_stored(json& object, const StoredTensor& stored) {
  object["stored_bytes"] = stored.bytes;
  if (!stored.encoding.empty()) object["encoding"] = stored.encoding;
}

json inspected_json(const InspectedTensor& entry) {
  json object = entry_json(entry);
  add_stored(object, entry.stored);
  object["data_offsets"] = {entry.tensor.begin, entry.tensor.end};
  if (entry.stats) object["stats"] = fields_json(*entry.stats);
  return object;
}

json report_json(const TensorReport& report) {
  json object = report.skipped ? entry_json(report) : entry_json(report, report);
  object["pruned"] = !report.skipped;
  if (!report.skipped) return object;
  object["skipped"] = skip_reason_text(*report.skipped);
  object["reason"] = skip_reason_code(*report.skipped);
  return object;
}

json compressed_json(const CompressedReport& report) {
  json object = fields_json(report.tensor);
  add_stored(object, report.stored);
  return object;
}

json totals_json(const VerifyResult& result) {
  json object = fields_json(result);
  object.erase("values");
  object["pruned_values"] = result.values;  // as the totals of prune name it
  return object;
}

void add_facts(json& object, const RunFacts& facts) {
  object["version"] = WINNOW_VERSION;
  object["threads"] = facts.threads;
  object["simd_level"] = facts.simd_level;
  object["peak_memory_bytes"] = facts.peak_memory_bytes;
}

// Where the result goes, and what became of it.
void add_target(json& object, const auto& job, const auto& result) {
  object["output"] = job.dry_run ? json(nullptr) : json(job.in_place ? job.input : job.output);
  object["written"] = job.dry_run ? json(nullptr) : json(result.written);
  object["dry_run"] = job.dry_run;
  object["in_place"] = job.in_place;
  if (!result.left_out.empty()) object["left_out"] = result.left_out;
  if (result.left_out_values > 0) object["left_out_values"] = result.left_out_values;
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
  json opaque = json::array();
  for (const OpaqueValue& value : inspection.opaque) {
    opaque.push_back({{"path", value.path}, {"class", value.class_name}});
  }
  json object = {{"command", "inspect"},
                 {"version", WINNOW_VERSION},
                 {"file", path},
                 {"file_bytes", inspection.file_bytes},
                 {"compressed", inspection.is_compressed},
                 {"header_bytes", inspection.header_bytes},
                 {"metadata", std::move(metadata)},
                 {"dtypes", std::move(dtypes)},
                 {"opaque", std::move(opaque)},
                 {"plain_values", inspection.plain_values},
                 {"seconds", fields_json(inspection.seconds)}};
  return print_with_tensors(std::move(object), inspection.tensors, inspected_json);
}

Status print_prune_json(const PruneJob& job, const PruneResult& result, const RunFacts& facts) {
  json object = {
      {"command", "prune"},
      {"input", job.input},
      {"settings", settings_json(job.settings)},
      {"input_bytes", result.input_bytes},
      {"output_bytes", result.output_bytes},
      {"totals", fields_json(result.totals)},
      {"seconds", fields_json(result.seconds)},
      {"bytes_per_second", static_cast<double>(result.input_bytes) / result.seconds.total}};
  add_target(object, job, result);
  add_facts(object, facts);
  return print_with_tensors(std::move(object), result.tensors, report_json);
}

Status print_compress_json(std::string_view command, const CompressJob& job,
                           const CompressResult& result, const RunFacts& facts) {
  json object = {{"command", command},
                 {"input", job.input},
                 {"input_bytes", result.input_bytes},
                 {"output_bytes", result.output_bytes},
                 {"seconds", fields_json(result.seconds)}};
  add_target(object, job, result);
  add_facts(object, facts);
  return print_with_tensors(std::move(object), result.tensors, compressed_json);
}

std::string verify_json(const VerifyJob& job, const VerifyResult& result, const RunFacts& facts) {
  json object = {{"command", "verify"},
                 {"file", job.pruned},
                 {"against", job.original},
                 {"ok", true},
                 {"settings", settings_json(result.settings)},
                 {"settings_from", job.settings ? "flags" : "metadata"},
                 {"totals", totals_json(result)},
                 {"seconds", fields_json(result.seconds)},
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
