// Values of tensors between files and memory that Python lends, for torchwinnow/tensor_files.py.
// Memory is passed as plain bytes, since neither NumPy nor DLPack has all types of safetensors.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "core_bindings.h"
#include "file_calls.h"
#include "winnow/base/concat.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/save_tensors.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/checkpoint/tensor_patterns.h"
#include "winnow/io/escape_name.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Read between two looks at signals, by each thread.
constexpr uint64_t kBatchBytes = uint64_t{16} << 20;

std::unique_ptr<CheckpointReader> open(const nb::bytes& path) {
  return run(1, nb::none(),
             [&](auto&, auto&) { return open_checkpoint(Env::posix(), path_of(path)); });
}

Status unknown_name(const CheckpointReader& reader, const std::string& name) {
  const std::span<const TensorInfo> tensors = reader.tensors();
  std::string message = concat("names: expected one of ", tensors.size(), " tensors, found '",
                               escape_name(name), "'");
  for (const TensorAlias& alias : tensor_aliases(tensors, reader.metadata())) {
    if (alias.name != name) continue;
    message += concat(", which was tied to '", escape_name(tensors[alias.tensor].name), "'");
    return Status(ErrorCode::kUnknownTensor, std::move(message));
  }
  const Result<Pattern> pattern = Pattern::compile(name);
  if (pattern.ok() && !tensors.empty()) {
    const std::string nearest = nearest_names(*pattern, tensors, 1)[0];
    message += concat("; nearest: '", escape_name(nearest), "'");
  }
  return Status(ErrorCode::kUnknownTensor, std::move(message));
}

/// The indices of the tensors of these names.
std::vector<size_t> find(const CheckpointReader& reader, const std::vector<std::string>& names) {
  std::unordered_map<std::string_view, size_t> indices;
  const std::span<const TensorInfo> tensors = reader.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) indices.emplace(tensors[i].name, i);
  std::vector<size_t> found;
  for (const std::string& name : names) {
    const auto entry = indices.find(name);
    if (entry == indices.end()) raise_if_error(unknown_name(reader, name));
    found.push_back(entry->second);
  }
  return found;
}

nb::tuple describe(const CheckpointReader& reader, size_t index) {
  const TensorInfo& tensor = reader.tensors()[index];
  return nb::make_tuple(text(tensor.name), text(dtype_name(tensor.dtype)), object_of(tensor.shape));
}

/// Some bytes of a tensor, which are read by one call.
struct Piece {
  size_t tensor;
  uint64_t offset;
  std::span<std::byte> out;
};

/// Adds the pieces of a range that begins at `offset`, cut where chunks begin.
void add_pieces(const CheckpointReader& reader, size_t tensor, uint64_t offset,
                std::span<std::byte> out, std::vector<Piece>& pieces) {
  const uint64_t chunk = reader.read_bytes(tensor);
  while (!out.empty()) {
    const auto part = out.first(std::min<uint64_t>(out.size(), chunk - offset % chunk));
    pieces.push_back({tensor, offset, part});
    offset += part.size();
    out = out.subspan(part.size());
  }
}

Status read_pieces(const CheckpointReader& reader, std::span<const Piece> pieces,
                   ParallelFor& threads, Progress& progress) {
  std::vector<Status> statuses(pieces.size());
  for (size_t begin = 0, end = 0; begin < pieces.size(); begin = end) {
    if (progress.cancelled()) return Status(ErrorCode::kInterrupted, "interrupted");
    uint64_t bytes = 0;
    while (end < pieces.size() && bytes < kBatchBytes * threads.concurrency()) {
      bytes += pieces[end++].out.size();
    }
    threads.run(end - begin, [&](size_t i) {
      const Piece& piece = pieces[begin + i];
      statuses[begin + i] = reader.read(piece.tensor, piece.offset, piece.out);
    });
    for (size_t i = begin; i < end; ++i) {
      if (!statuses[i].ok()) return statuses[i];
    }
  }
  return reader.check_unchanged();
}

/// Fills each array with the bytes of the tensor of that index, from that offset on.
void read(const CheckpointReader& reader,
          const std::vector<std::tuple<size_t, uint64_t, WritableBytes>>& wanted, size_t threads) {
  std::vector<Piece> pieces;
  for (const auto& [tensor, offset, array] : wanted) {
    add_pieces(reader, tensor, offset,
               std::as_writable_bytes(std::span(array.data(), array.size())), pieces);
  }
  run(threads, nb::none(), [&](auto& parallel, auto& progress) {
    return read_pieces(reader, pieces, parallel, progress);
  });
}

using NamedBytes = std::tuple<std::string, std::string_view, std::vector<uint64_t>, Bytes>;

void save(const nb::bytes& output, const std::vector<NamedBytes>& tensors, Metadata metadata,
          bool compress, bool overwrite, bool overwrite_blob, size_t threads) {
  std::vector<TensorData> data;
  for (const auto& [name, dtype, shape, array] : tensors) {
    data.push_back({name, dtype_from_name(dtype).value(), shape,
                    std::as_bytes(std::span(array.data(), array.size()))});
  }
  const SaveJob job{.output = path_of(output),
                    .metadata = std::move(metadata),
                    .compress = compress,
                    .overwrite = overwrite,
                    .overwrite_blob = overwrite_blob};
  run(threads, nb::none(), [&](auto& parallel, auto& progress) {
    return save_tensors(Env::posix(), job, data, parallel, progress);
  });
}

}  // namespace

void bind_tensor_files(nb::module_& m) {
  nb::class_<CheckpointReader>(m, "CheckpointReader", "An open file, compressed or not.")
      .def("__len__", [](const CheckpointReader& self) { return self.tensors().size(); })
      .def("find", &find, "names"_a, "The indices of tensors.")
      .def("describe", &describe, "index"_a, "Name, dtype and shape of a tensor.")
      .def("read", &read, "wanted"_a, "threads"_a, "Fills (index, offset, bytes) each.");
  m.def("open_checkpoint", &open, "path"_a, "Opens a file and reads its header.");
  m.def("save_tensors", &save, "output"_a, "tensors"_a, "metadata"_a, "compress"_a, "overwrite"_a,
        "overwrite_blob"_a, "threads"_a, "Writes (name, dtype, shape, bytes) each to a file.");
}

}  // namespace winnow::python
