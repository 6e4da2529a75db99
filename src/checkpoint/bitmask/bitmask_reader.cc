#include "checkpoint/bitmask/bitmask_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/bitmask/bitmask_tensor.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors_writer.h"
#include "winnow/sparse/error_codes.h"

namespace winnow::checkpoint {
namespace {

constexpr std::string_view kValues = ".compressed";
constexpr std::string_view kBitmask = ".bitmask";
constexpr std::string_view kShape = ".shape";
constexpr std::string_view kRowOffsets = ".row_offsets";
constexpr std::string_view kWeight = ".weight";

// Indices of the parts of one weight, as far as there are any.
struct NamedParts {
  std::optional<size_t> values, bitmask, shape, row_offsets;

  bool is_weight() const { return values && bitmask && shape; }
};

// The parts by the name that is before their suffix. Sorted, since names from a file could collide
// on purpose in a hash table.
using PartsByPrefix = std::map<std::string_view, NamedParts>;

// Calls visit(prefix, member) if the name is that of a part.
template <typename Visit>
void visit_part(std::string_view name, const Visit& visit) {
  constexpr std::pair<std::string_view, std::optional<size_t> NamedParts::*> kParts[] = {
      {kValues, &NamedParts::values},
      {kBitmask, &NamedParts::bitmask},
      {kShape, &NamedParts::shape},
      {kRowOffsets, &NamedParts::row_offsets}};
  for (const auto& [suffix, member] : kParts) {
    if (name.ends_with(suffix)) visit(name.substr(0, name.size() - suffix.size()), member);
  }
}

PartsByPrefix parts_of(std::span<const TensorInfo> tensors) {
  PartsByPrefix parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    visit_part(tensors[i].name,
               [&](std::string_view prefix, auto member) { parts[prefix].*member = i; });
  }
  return parts;
}

Status part_fault(const TensorInfo& part, const auto&... text) {
  return Status(BitmaskError::kBitmaskSize, concat(tensor_label(part), ": ", text...));
}

// Error: kBitmaskSize.
Status check_part(const TensorInfo& part, DType dtype, const std::vector<uint64_t>& shape) {
  if (part.dtype == dtype && part.shape == shape) return Status();
  return part_fault(part, "expected ", list_text(shape), " of ", dtype_name(dtype), ", found ",
                    list_text(part.shape), " of ", dtype_name(part.dtype));
}

// The shape of a weight, which is data: the numbers in `part`.
Result<std::vector<uint64_t>> read_shape(const CheckpointReader& file, size_t index) {
  const TensorInfo& part = file.tensors()[index];
  const auto fault = [&](const auto&... text) {
    return Status(BitmaskError::kBitmaskShape, concat(tensor_label(part), ": ", text...));
  };
  const bool is_list = part.shape.size() == 1 || (part.shape.size() == 2 && part.shape[1] == 1);
  if (part.dtype != DType::kI64 || !is_list || part.shape[0] == 0 || part.shape[0] > kMaxRank) {
    return fault("expected a list of 1 to ", kMaxRank, " dimensions of I64, found ",
                 list_text(part.shape), " of ", dtype_name(part.dtype));
  }
  std::vector<uint64_t> shape(part.shape[0]);
  WINNOW_RETURN_IF_ERROR(file.read(index, 0, std::as_writable_bytes(std::span(shape))));
  for (const uint64_t d : shape) {
    const auto dimension = static_cast<int64_t>(d);
    if (dimension < 0) return fault("expected dimensions from 0 on, found ", dimension);
  }
  return shape;
}

// Checks types and shapes: the bitmask is as large as the shape says, so that a few bytes cannot
// ask for much memory or time.
Result<BitmaskParts> weight_of(const CheckpointReader& file, std::string_view prefix,
                               const NamedParts& named) {
  const TensorInfo& values = file.tensors()[*named.values];
  const TensorInfo& bitmask = file.tensors()[*named.bitmask];
  WINNOW_ASSIGN_OR_RETURN(std::vector<uint64_t> shape, read_shape(file, *named.shape));

  const std::vector<uint64_t> leading(shape.begin(), shape.end() - 1);
  const uint64_t columns = shape.back();
  std::vector<uint64_t> bitmask_shape = leading;
  bitmask_shape.push_back(columns / 8 + (columns % 8 != 0));
  WINNOW_RETURN_IF_ERROR(check_part(bitmask, DType::kU8, bitmask_shape));

  const size_t bits = dtype_bits(values.dtype);
  if (bits % 8 != 0 || bits > 64) {
    return part_fault(values, "expected values of whole bytes, found ", dtype_name(values.dtype));
  }
  BitmaskParts parts{
      .weight = {.name = concat(prefix, kWeight), .dtype = values.dtype, .shape = std::move(shape)},
      .stored_bytes = values.bytes() + bitmask.bytes() + file.tensors()[*named.shape].bytes(),
      .values = *named.values,
      .bitmask = *named.bitmask,
      .shape = *named.shape,
      .row_offsets = named.row_offsets};
  std::optional<uint64_t> bytes = bits / 8;
  for (const uint64_t d : parts.weight.shape) bytes = bytes ? checked_mul(*bytes, d) : bytes;
  if (!bytes) {
    return Status(ErrorCode::kShapeOverflow,
                  concat(tensor_label(parts.weight), ": ", list_text(parts.weight.shape), " of ",
                         dtype_name(values.dtype), " has more bytes than fit into 64 bits"));
  }
  parts.weight.end = *bytes;

  if (named.row_offsets) {
    const TensorInfo& row_offsets = file.tensors()[*named.row_offsets];
    parts.stored_bytes += row_offsets.bytes();
    WINNOW_RETURN_IF_ERROR(check_part(row_offsets, DType::kI64, leading));
    if (values.shape.size() != 1) {
      return part_fault(values, "expected a list of values, found ", list_text(values.shape));
    }
  } else {
    if (leading.size() != 1 || columns % 2 != 0) {
      return part_fault(bitmask,
                        "expected row_offsets, or a weight of 2 dimensions of which the "
                        "last is even, found ",
                        list_text(parts.weight.shape));
    }
    WINNOW_RETURN_IF_ERROR(check_part(values, values.dtype, {leading[0], columns / 2}));
  }
  return parts;
}

class BitmaskReader final : public CheckpointReader {
 public:
  BitmaskReader(std::unique_ptr<CheckpointReader> file, std::string path, SafetensorsHeader header)
      : file_(std::move(file)), path_(std::move(path)), header_(std::move(header)) {}

  // The next tensor: a weight, or one that is stored as it is.
  void add(BitmaskParts parts) {
    sources_.push_back({.weight = std::make_unique<BitmaskTensor>(*file_, std::move(parts))});
  }
  void add(size_t index) { sources_.push_back({.index = index}); }

  std::span<const TensorInfo> tensors() const noexcept override { return header_.tensors(); }
  const Metadata& metadata() const noexcept override { return header_.metadata(); }
  std::string header_text(const Metadata& added) const override {
    return text_with_entries(header_, added);
  }
  uint64_t file_bytes() const noexcept override { return file_->file_bytes(); }
  uint64_t header_bytes() const noexcept override { return header_.text().size(); }
  bool reads(const FileIdentity& file) const noexcept override { return file_->reads(file); }
  bool is_compressed() const noexcept override { return true; }
  Status check_unchanged() const override { return file_->check_unchanged(); }

  Result<StoredTensor> stored(size_t tensor) const override {
    const Source& source = sources_[tensor];
    if (!source.weight) return file_->stored(source.index);
    const BitmaskParts& parts = source.weight->parts();
    return StoredTensor{.bytes = parts.stored_bytes,
                        .encoding = parts.row_offsets ? "sparse-bitmask" : "sparse-24-bitmask"};
  }

  std::vector<std::string> part_names(size_t tensor) const override {
    const Source& source = sources_[tensor];
    if (!source.weight) return {};
    const BitmaskParts& parts = source.weight->parts();
    std::vector<size_t> indices = {parts.values, parts.bitmask, parts.shape};
    if (parts.row_offsets) indices.push_back(*parts.row_offsets);
    std::vector<std::string> names;
    for (const size_t index : indices) names.push_back(file_->tensors()[index].name);
    return names;
  }

  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override {
    const Source& source = sources_[tensor];
    if (!source.weight) return file_->read(source.index, offset, out);
    const TensorInfo& info = header_.tensors()[tensor];
    WINNOW_RETURN_IF_ERROR(check_range(path_, info, offset, out.size()));
    const Status status = source.weight->read(offset, out);
    // Errors of reading name the file already.
    if (!status.code().is_of_format()) return status;
    return in_file(path_, status.with_context(tensor_label(info)));
  }

 private:
  struct Source {
    std::unique_ptr<BitmaskTensor> weight = nullptr;
    size_t index = 0;  // in the file, without a weight
  };

  std::unique_ptr<CheckpointReader> file_;
  std::string path_;
  SafetensorsHeader header_;
  std::vector<Source> sources_;  // by tensor
};

// What stands in the dense file, in its order.
struct DenseTensor {
  TensorInfo info;
  std::optional<BitmaskParts> parts;  // none: as it is, at `index`
  size_t index = 0;
};

Result<std::vector<DenseTensor>> dense_tensors(const CheckpointReader& file) {
  const std::span<const TensorInfo> tensors = file.tensors();
  const PartsByPrefix parts = parts_of(tensors);
  std::vector<DenseTensor> dense;
  for (const size_t i : data_order(tensors)) {
    std::optional<std::pair<std::string_view, NamedParts>> found;
    bool is_values = false;
    visit_part(tensors[i].name, [&](std::string_view prefix, auto member) {
      found = {prefix, parts.at(prefix)};
      is_values = member == &NamedParts::values;
    });
    const bool has_bits = found && (found->second.values || found->second.bitmask);
    if (!has_bits) {
      dense.push_back({.info = tensors[i], .parts = std::nullopt, .index = i});
      continue;
    }
    if (!found->second.is_weight()) {
      return Status(
          BitmaskError::kBitmaskParts,
          concat(tensor_label(tensors[i]), ": expected '", escape_name(found->first), "' with ",
                 kValues, ", ", kBitmask, " and ", kShape, ", found only some of them"));
    }
    if (!is_values) continue;
    WINNOW_ASSIGN_OR_RETURN(BitmaskParts weight, weight_of(file, found->first, found->second));
    dense.push_back({.info = weight.weight, .parts = std::move(weight)});
  }
  return dense;
}

// The header of the dense file.
Result<SafetensorsHeader> dense_header(std::span<const DenseTensor> dense,
                                       const Metadata& metadata) {
  std::vector<TensorInfo> infos;
  uint64_t at = 0;
  for (const DenseTensor& tensor : dense) {
    const std::optional<uint64_t> end = checked_add(at, tensor.info.bytes());
    if (!end) {
      return Status(ErrorCode::kShapeOverflow,
                    "the dense tensors have more bytes than fit into 64 bits");
    }
    TensorInfo& info = infos.emplace_back(tensor.info);
    info.begin = std::exchange(at, *end);
    info.end = *end;
  }
  Result<SafetensorsHeader> header =
      SafetensorsHeader::parse(safetensors_header_text(infos, metadata), at);
  if (!header.ok()) return header.status().with_context("as a dense file");
  return header;
}

}  // namespace

bool has_bitmask_weights(std::span<const TensorInfo> tensors) {
  const auto is_bitmask = [](const TensorInfo& tensor) { return tensor.name.ends_with(kBitmask); };
  if (std::none_of(tensors.begin(), tensors.end(), is_bitmask)) return false;  // nearly always
  const PartsByPrefix parts = parts_of(tensors);
  return std::any_of(parts.begin(), parts.end(),
                     [](const auto& entry) { return entry.second.values && entry.second.bitmask; });
}

Result<std::unique_ptr<CheckpointReader>> open_bitmask(std::unique_ptr<CheckpointReader> file,
                                                       const std::string& path) {
  Result<std::vector<DenseTensor>> dense = dense_tensors(*file);
  if (!dense.ok()) {
    const bool is_named = !dense.status().code().is_of_format();
    return is_named ? dense.status() : in_file(path, dense.status());
  }
  Result<SafetensorsHeader> header = dense_header(*dense, file->metadata());
  if (!header.ok()) return in_file(path, header.status());
  auto reader = std::make_unique<BitmaskReader>(std::move(file), path, std::move(*header));
  for (DenseTensor& tensor : *dense) {
    if (tensor.parts) {
      reader->add(std::move(*tensor.parts));
    } else {
      reader->add(tensor.index);
    }
  }
  return std::unique_ptr<CheckpointReader>(std::move(reader));
}

}  // namespace winnow::checkpoint
