// Calls on files. Arguments have been checked for their types by torchwinnow/files.py and
// compression.py, which also make dataclasses of the plain dictionaries that come back.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <utility>

#include "core_bindings.h"
#include "file_calls.h"
#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/inspect.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

PruneSettings make_settings(double level, std::pair<uint64_t, uint64_t> block,
                            std::optional<uint64_t> zeros,
                            std::optional<std::pair<uint64_t, uint64_t>> nm, bool l2, bool global,
                            bool keep_nan, std::vector<std::string> include,
                            std::vector<std::string> exclude, std::vector<std::string> force,
                            const std::vector<std::pair<std::string, double>>& levels) {
  PruneSettings settings{.config = {.sparsity_level = level,
                                    .sparse_block_shape = {block.first, block.second},
                                    .zeros_per_block = zeros,
                                    .norm = l2 ? Norm::kL2 : Norm::kL1},
                         .scope = global ? Scope::kGlobal : Scope::kTensor,
                         .include = std::move(include),
                         .exclude = std::move(exclude),
                         .force = std::move(force),
                         .nan = keep_nan ? NanPolicy::kKeep : NanPolicy::kError};
  if (nm) settings.config = nm_config(nm->first, nm->second, settings.config.norm);
  for (const auto& [pattern, rule] : levels) settings.levels.push_back({pattern, rule});
  raise_if_error(validate(settings));
  return settings;
}

nb::dict report_dict(const TensorReport& report) {
  nb::dict result = fields_dict(report.tensor, report);
  result["aliases"] = nb::tuple(nb::cast(report.aliases));
  result["skipped"] =
      report.skipped ? nb::object(text(skip_reason_text(*report.skipped))) : nb::none();
  result["reason"] =
      report.skipped ? nb::object(text(skip_reason_code(*report.skipped))) : nb::none();
  return result;
}

// How a tensor is stored, if it is compressed.
void add_stored(nb::dict& result, const StoredTensor& stored) {
  result["stored_bytes"] = stored.bytes;
  result["encoding"] = stored.encoding.empty() ? nb::none() : nb::object(text(stored.encoding));
}

nb::dict inspected_dict(const InspectedTensor& entry) {
  nb::dict result = fields_dict(entry.tensor);
  result["aliases"] = nb::tuple(nb::cast(entry.aliases));
  result["data_offsets"] = nb::make_tuple(entry.tensor.begin, entry.tensor.end);
  add_stored(result, entry.stored);
  result["stats"] = entry.stats ? nb::object(fields_dict(*entry.stats)) : nb::none();
  return result;
}

// The path as os.fspath has it, which need not be UTF-8; None after a dry run.
nb::object written_object(const std::string& written) {
  if (written.empty()) return nb::none();
  return nb::steal(
      PyUnicode_DecodeFSDefaultAndSize(written.data(), static_cast<Py_ssize_t>(written.size())));
}

// Names of files, as Python has paths.
nb::tuple names_tuple(const std::vector<std::string>& names) {
  nb::list list;
  for (const std::string& name : names) list.append(written_object(name));
  return nb::tuple(list);
}

nb::dict prune(const nb::bytes& input, const nb::bytes& output, const PruneSettings& settings,
               bool compress, bool overwrite, bool overwrite_blob, bool dry_run, bool in_place,
               uint64_t max_memory, size_t threads, nb::object listener) {
  const PruneJob job{.input = path_of(input),
                     .output = path_of(output),
                     .settings = settings,
                     .overwrite = overwrite,
                     .compress = compress,
                     .dry_run = dry_run,
                     .overwrite_blob = overwrite_blob,
                     .max_memory = max_memory,
                     .in_place = in_place};
  const PruneResult pruned = run(threads, std::move(listener), [&](auto& parallel, auto& progress) {
    return prune_file(Env::posix(), job, parallel, progress);
  });
  nb::list tensors;
  for (const TensorReport& report : pruned.tensors) tensors.append(report_dict(report));
  nb::dict result = fields_dict(pruned.totals);
  result["tensors"] = tensors;  // in place of their number
  result["input_bytes"] = pruned.input_bytes;
  result["output_bytes"] = pruned.output_bytes;
  result["written"] = written_object(pruned.written);
  result["left_out"] = names_tuple(pruned.left_out);
  result["left_out_values"] = pruned.left_out_values;
  result["seconds"] = fields_dict(pruned.seconds);
  return result;
}

nb::dict inspect(const nb::bytes& path, bool stats, size_t threads, nb::object listener) {
  const Inspection found = run(threads, std::move(listener), [&](auto& parallel, auto& progress) {
    return inspect_file(Env::posix(), path_of(path), stats, parallel, progress);
  });
  nb::list tensors;
  for (const InspectedTensor& entry : found.tensors) tensors.append(inspected_dict(entry));
  nb::dict metadata, dtypes, result;
  for (const auto& [key, value] : found.metadata) metadata[text(key)] = text(value);
  for (const DTypeTotal& total : found.dtypes) {
    dtypes[text(dtype_name(total.dtype))] =
        nb::make_tuple(total.tensors, total.values, total.bytes);
  }
  result["file_bytes"] = found.file_bytes;
  result["compressed"] = found.is_compressed;
  result["header_bytes"] = found.header_bytes;
  result["metadata"] = metadata;
  result["tensors"] = tensors;
  result["dtypes"] = dtypes;
  nb::list opaque;
  for (const OpaqueValue& value : found.opaque) {
    opaque.append(nb::make_tuple(text(value.path), text(value.class_name)));
  }
  result["opaque"] = nb::tuple(opaque);
  result["plain_values"] = found.plain_values;
  result["seconds"] = fields_dict(found.seconds);
  return result;
}

// compress_file or decompress_file.
template <auto convert_file>
nb::dict convert(const nb::bytes& input, const nb::bytes& output, std::vector<std::string> include,
                 std::vector<std::string> exclude, bool overwrite, bool overwrite_blob,
                 bool dry_run, bool in_place, uint64_t max_memory, size_t threads,
                 nb::object listener) {
  const CompressJob job{.input = path_of(input),
                        .output = path_of(output),
                        .include = std::move(include),
                        .exclude = std::move(exclude),
                        .overwrite = overwrite,
                        .overwrite_blob = overwrite_blob,
                        .dry_run = dry_run,
                        .max_memory = max_memory,
                        .in_place = in_place};
  const CompressResult converted =
      run(threads, std::move(listener), [&](auto& parallel, auto& progress) {
        return convert_file(Env::posix(), job, parallel, progress);
      });
  nb::list tensors;
  for (const CompressedReport& report : converted.tensors) {
    nb::dict entry = fields_dict(report.tensor);
    add_stored(entry, report.stored);
    tensors.append(entry);
  }
  nb::dict result;
  result["tensors"] = tensors;
  result["input_bytes"] = converted.input_bytes;
  result["output_bytes"] = converted.output_bytes;
  result["written"] = written_object(converted.written);
  result["left_out"] = names_tuple(converted.left_out);
  result["left_out_values"] = converted.left_out_values;
  result["seconds"] = fields_dict(converted.seconds);
  return result;
}

nb::dict verify(const nb::bytes& pruned, const nb::bytes& original, const PruneSettings* settings,
                uint64_t max_memory, size_t threads, nb::object listener) {
  VerifyJob job{.pruned = path_of(pruned),
                .original = path_of(original),
                .settings = std::nullopt,
                .max_memory = max_memory};
  if (settings != nullptr) job.settings = *settings;
  const VerifyResult checked =
      run(threads, std::move(listener), [&](auto& parallel, auto& progress) {
        return verify_file(Env::posix(), job, parallel, progress);
      });
  nb::dict result = fields_dict(checked);
  result["settings"] = config_text(checked.settings);
  result["seconds"] = fields_dict(checked.seconds);
  return result;
}

}  // namespace

void bind_files(nb::module_& m) {
  nb::class_<PruneSettings>(m, "Settings", "What to prune, checked.")
      .def(nb::new_(&make_settings), nb::kw_only(), "sparsity_level"_a, "sparse_block_shape"_a,
           "zeros_per_block"_a.none(), "nm"_a.none(), "l2"_a, "global_scope"_a, "keep_nan"_a,
           "include"_a, "exclude"_a, "force"_a, "levels"_a)
      .def_prop_ro("text", &config_text, "The settings as they stand in a file's metadata, JSON.");
  m.attr("default_max_memory") = kDefaultMaxMemory;
  m.def("prune_file", &prune, "input"_a, "output"_a, "settings"_a, "compress"_a, "overwrite"_a,
        "overwrite_blob"_a, "dry_run"_a, "in_place"_a, "max_memory"_a, "threads"_a,
        "listener"_a.none(), "Prunes a file to another.");
  const auto def_convert = [&](const char* name, auto* function, const char* text) {
    m.def(name, function, "input"_a, "output"_a, "include"_a, "exclude"_a, "overwrite"_a,
          "overwrite_blob"_a, "dry_run"_a, "in_place"_a, "max_memory"_a, "threads"_a,
          "listener"_a.none(), text);
  };
  def_convert("compress_file", &convert<compress_file>, "Compresses a file to another.");
  def_convert("decompress_file", &convert<decompress_file>, "Gives back what was compressed.");
  m.def("inspect_file", &inspect, "path"_a, "stats"_a, "threads"_a, "listener"_a.none(),
        "Lists what a file holds.");
  m.def("verify_file", &verify, "pruned"_a, "original"_a, "settings"_a.none(), "max_memory"_a,
        "threads"_a, "listener"_a.none(), "Checks a pruned file against its original.");
}

}  // namespace winnow::python
