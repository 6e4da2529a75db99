#include "io/torch_tree/torch_tensor_checks.h"

#include <algorithm>
#include <compare>
#include <numeric>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "io/torch_tree/torch_names.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"

namespace winnow {
namespace io {
namespace {

// The greatest index of torch, which is signed and has 64 bits.
constexpr uint64_t kMaxIndex = INT64_MAX;

// The product, zeros left out: torch multiplies strides from shapes that way.
Status check_shape(std::span<const uint64_t> shape) {
  if (shape.size() > kMaxTorchRank) {
    return {TorchArchiveError::kTensorRank,
            concat("a tensor of ", shape.size(), " dimensions, at most ", kMaxTorchRank,
                   " are allowed")};
  }
  uint64_t product = 1;
  for (const uint64_t size : shape) {
    const auto next = checked_mul(product, std::max<uint64_t>(size, 1));
    if (!next || *next > kMaxIndex) {
      return {TorchArchiveError::kTensorShape,
              concat("the shape ", shown_shape(shape), " does not fit into 63 bits")};
    }
    product = *next;
  }
  return {};
}

Status check_strides(const TorchTensor& tensor) {
  if (tensor.strides.size() != tensor.shape.size()) {
    return {TorchArchiveError::kTensorShape,
            concat("a shape of ", tensor.shape.size(), " dimensions with ", tensor.strides.size(),
                   " strides")};
  }
  const auto fits = [](uint64_t index) { return index <= kMaxIndex; };
  if (fits(tensor.offset) && std::ranges::all_of(tensor.strides, fits)) return {};
  return {TorchArchiveError::kTensorStride, "a stride or an offset is negative"};
}

// How many elements of the tensor's type the storage has room for.
uint64_t elements_of(const TorchTensor& tensor, const TorchStorage& storage) {
  return storage.bytes() / (dtype_bits(tensor.dtype) / 8);
}

Status check_bounds(const TorchTensor& tensor, const TorchStorage& storage) {
  const uint64_t elements = elements_of(tensor, storage);
  // The index of the last element in memory, which no other exceeds; nothing if it does not fit.
  std::optional<uint64_t> last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size() && last; ++i) {
    const auto step = checked_mul(tensor.shape[i] - 1, tensor.strides[i]);
    last = step ? checked_add(*last, *step) : std::nullopt;
  }
  if (last && *last < elements) return {};
  return {TorchArchiveError::kTensorBounds,
          concat("a tensor of shape ", shown_shape(tensor.shape), ", strides ",
                 shown_shape(tensor.strides), " and offset ", tensor.offset,
                 " leaves its storage of ", elements, " elements")};
}

Status check_dtype(const TorchTensor& tensor, const TorchStorage& storage) {
  const std::string_view name = torch_dtype_name(tensor.dtype);
  // The pickle gives a tensor on a typed storage no type of its own.
  if (!name.empty() && (storage.untyped || tensor.dtype == storage.dtype)) return {};
  return {TorchArchiveError::kStorageDtype,
          concat("a tensor of ", dtype_name(tensor.dtype), " in a storage of ",
                 storage.untyped ? "bytes" : dtype_name(storage.dtype))};
}

// torch refuses to set the flag for integers and bools, so no file that it wrote has it.
bool can_require_grad(DType dtype) {
  const std::string_view name = torch_dtype_name(dtype);
  return name.starts_with("float") || name.starts_with("bfloat") || name.starts_with("complex");
}

Status sparse_error(const TorchSparseTensor& tensor, std::string_view what) {
  return {TorchArchiveError::kSparseShape,
          concat("a sparse tensor of shape ", shown_shape(tensor.shape), ", indices ",
                 shown_shape(tensor.indices.shape), " and values ",
                 shown_shape(tensor.values.shape), ": ", what)};
}

// Whoever reads the tensor takes memory for all elements, so a payload has to have as many: a view
// that repeats some (a stride of 0) would cost far more than the file is large.
bool is_expanded(const TorchTensor& tensor, std::span<const TorchStorage> storages) {
  return tensor.numel() > elements_of(tensor, storages[tensor.storage]);
}

// The shape is that of the sparse dimensions followed by that of one entry.
bool dense_part_fits(const TorchSparseTensor& tensor) {
  const size_t sparse_dims = tensor.indices.shape[0];
  const size_t dense_dims = tensor.values.shape.size() - 1;
  if (sparse_dims > tensor.shape.size() || tensor.shape.size() - sparse_dims != dense_dims) {
    return false;
  }
  return std::equal(tensor.values.shape.begin() + 1, tensor.values.shape.end(),
                    tensor.shape.begin() + static_cast<ptrdiff_t>(sparse_dims));
}

// Compares two entries, the indices of which stand in columns.
std::strong_ordering compare_entries(std::span<const int64_t> indices, uint64_t nnz, uint64_t a,
                                     uint64_t b) {
  for (uint64_t row = 0; row < indices.size(); row += nnz) {
    const auto order = indices[row + a] <=> indices[row + b];
    if (order != 0) return order;
  }
  return std::strong_ordering::equal;
}

Status duplicate(uint64_t a, uint64_t b) {
  return {TorchArchiveError::kSparseDuplicate,
          concat("entries ", std::min(a, b), " and ", std::max(a, b),
                 " of a sparse tensor have the same indices")};
}

Status check_order(const TorchSparseTensor& tensor, std::span<const int64_t> indices) {
  const uint64_t nnz = tensor.nnz();
  const auto compare = [&](uint64_t a, uint64_t b) { return compare_entries(indices, nnz, a, b); };
  uint64_t i = 1;
  while (i < nnz && compare(i - 1, i) < 0) ++i;
  if (i >= nnz) return {};
  // Even if the tensor does not claim an order: neighbours show without a sort.
  if (compare(i - 1, i) == 0) return duplicate(i - 1, i);
  if (tensor.is_coalesced) {
    return {TorchArchiveError::kSparseOrder,
            concat("entry ", i, " of a sparse tensor that is said to be coalesced comes before ",
                   "the one in front of it")};
  }
  // Only now is memory taken. Sorted, equal entries stand side by side.
  std::vector<uint64_t> order(nnz);
  std::iota(order.begin(), order.end(), uint64_t{0});
  std::ranges::sort(order, [&](uint64_t a, uint64_t b) { return compare(a, b) < 0; });
  const auto twice =
      std::ranges::adjacent_find(order, [&](uint64_t a, uint64_t b) { return compare(a, b) == 0; });
  return twice == order.end() ? Status() : duplicate(twice[0], twice[1]);
}

}  // namespace

std::string shown_shape(std::span<const uint64_t> shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    // A message is one line, and a shape may have 64 dimensions.
    if (i == 8) return out.append(", ...]");
    out.append(i == 0 ? "" : ", ").append(std::to_string(shape[i]));
  }
  return out.append("]");
}

Status check_storage(const TorchStorage& storage) {
  // An untyped storage is one of bytes. Another type there would scale its size.
  const bool known =
      storage.untyped ? storage.dtype == DType::kU8 : !storage_class_name(storage.dtype).empty();
  if (!known) {
    return {TorchArchiveError::kStorageDtype,
            concat("torch has no storage of ", dtype_name(storage.dtype))};
  }
  // torch counts bytes in signed integers.
  const auto bytes = checked_mul(storage.numel, dtype_bits(storage.dtype) / 8);
  if (bytes && *bytes <= kMaxIndex) return {};
  return {TorchArchiveError::kTensorShape,
          concat("a storage of ", storage.numel, " elements does not fit into 63 bits")};
}

Status check_tensor(const TorchTensor& tensor, std::span<const TorchStorage> storages) {
  if (tensor.storage >= storages.size()) {
    return {ErrorCode::kInvalidArgument, concat("a tensor in storage ", tensor.storage,
                                                ", of which there are ", storages.size())};
  }
  const TorchStorage& storage = storages[tensor.storage];
  // In this order: bounds divide by the size of the type, and multiply what the shape check bounds.
  WINNOW_RETURN_IF_ERROR(check_dtype(tensor, storage));
  WINNOW_RETURN_IF_ERROR(check_shape(tensor.shape));
  WINNOW_RETURN_IF_ERROR(check_strides(tensor));
  if (tensor.requires_grad && !can_require_grad(tensor.dtype)) {
    return {TorchArchiveError::kTensorGrad,
            concat("requires_grad of a tensor of ", dtype_name(tensor.dtype))};
  }
  // Without elements nothing is out of bounds, whatever the offset; torch loads such tensors.
  const bool empty = std::ranges::find(tensor.shape, uint64_t{0}) != tensor.shape.end();
  return empty ? Status() : check_bounds(tensor, storage);
}

Status check_sparse(const TorchSparseTensor& tensor, std::span<const TorchStorage> storages) {
  WINNOW_RETURN_IF_ERROR(check_tensor(tensor.indices, storages).with_context("indices"));
  WINNOW_RETURN_IF_ERROR(check_tensor(tensor.values, storages).with_context("values"));
  WINNOW_RETURN_IF_ERROR(check_shape(tensor.shape));
  if (tensor.indices.dtype != DType::kI64) return sparse_error(tensor, "indices are no int64");
  if (tensor.indices.shape.size() != 2) return sparse_error(tensor, "indices are no matrix");
  if (tensor.values.shape.empty() || tensor.values.shape[0] != tensor.indices.shape[1]) {
    return sparse_error(tensor, "not as many values as indices");
  }
  if (is_expanded(tensor.indices, storages) || is_expanded(tensor.values, storages)) {
    return sparse_error(tensor, "more indices or values than their storage has elements");
  }
  // torch writes neither, and makes a tensor of them that is not a leaf, or forgets it.
  for (const TorchTensor* part : {&tensor.indices, &tensor.values}) {
    if (part->is_parameter || part->requires_grad) {
      return sparse_error(tensor, "indices or values that are a Parameter or require gradients");
    }
  }
  // Behind the checks above, since it takes apart both shapes.
  if (!dense_part_fits(tensor)) return sparse_error(tensor, "the dimensions do not add up");
  return {};
}

}  // namespace io

bool TorchTensor::is_contiguous() const noexcept {
  uint64_t expected = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    // The stride of a dimension of 1 is never taken.
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

bool TorchTensor::fills(const TorchStorage& whole) const noexcept {
  const uint64_t bytes = numel() * (dtype_bits(dtype) / 8);
  return offset == 0 && bytes == whole.bytes() && is_contiguous();
}

Status TorchSparseTensor::check_indices(std::span<const int64_t> index_values) const {
  for (size_t i = 0; i < index_values.size(); ++i) {
    // Row-major, so that each dimension has nnz indices in a row. Without entries there is no
    // index.
    const uint64_t dimension = i / nnz();
    const uint64_t size = shape[dimension];
    if (static_cast<uint64_t>(index_values[i]) < size) continue;  // negative ones are huge there
    return {TorchArchiveError::kSparseIndex,
            concat("the index ", index_values[i], " in dimension ", dimension,
                   " of a sparse tensor, which has ", size)};
  }
  return io::check_order(*this, index_values);
}

}  // namespace winnow
