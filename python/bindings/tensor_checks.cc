#include "tensor_checks.h"

#include <torch/headeronly/core/Layout.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <functional>
#include <new>
#include <optional>
#include <ostream>
#include <tuple>
#include <vector>

namespace winnow::python {
namespace {

using torch::headeronly::Layout;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Shape {
  torch::headeronly::IntHeaderOnlyArrayRef sizes;
};

std::ostream& operator<<(std::ostream& stream, const Shape& shape) {
  stream << '[';
  const char* separator = "";
  for (const int64_t size : shape.sizes) {
    stream << separator << size;
    separator = ", ";
  }
  return stream << ']';
}

std::optional<DType> dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return DType::kF32;
    case ScalarType::Double:
      return DType::kF64;
    case ScalarType::Half:
      return DType::kF16;
    case ScalarType::BFloat16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

void check_strided(const Tensor& tensor, const TensorName& name) {
  check(tensor.defined(), name, ": expected a tensor, found an undefined one");
  int32_t layout = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(tensor.get(), &layout));
  check(layout == aoti_torch_layout_strided(), name,
        ": expected layout torch.strided, found another (a sparse tensor?)");
  check(tensor.is_cpu(), name, ": expected a tensor on the CPU, as the others are");
}

/// The bytes from a tensor's first element to behind its last.
struct Extent {
  const char* begin;
  const char* end;
  TensorName name;

  bool overlaps(const Extent& other) const noexcept {
    const std::less<> below;
    return below(begin, other.end) && below(other.begin, end);
  }
};

std::optional<Extent> extent_of(const Tensor& tensor, const TensorName& name) {
  if (tensor.numel() == 0) return std::nullopt;
  int64_t last = 0;
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  for (size_t d = 0; d < sizes.size(); ++d) last += (sizes[d] - 1) * strides[d];
  const auto* begin = static_cast<const char*>(tensor.const_data_ptr());
  return Extent{begin, begin + (last + 1) * static_cast<int64_t>(tensor.element_size()), name};
}

void check_apart(const Extent& mask, const Extent& other) {
  check(!mask.overlaps(other), mask.name, ": expected memory of its own, found that of ",
        other.name);
}

std::vector<Extent> sorted_extents(std::span<const Tensor> tensors, const char* name) {
  std::vector<Extent> extents;
  extents.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (const auto extent = extent_of(tensors[i], {name, i})) extents.push_back(*extent);
  }
  std::ranges::sort(extents, std::less<>(), &Extent::begin);
  return extents;
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const TensorName& name) {
  stream << name.name;
  if (name.index >= 0) stream << '[' << name.index << ']';
  return stream;
}

void check_ok(const Status& status) {
  if (status.ok()) return;
  if (status.code() == ErrorCode::kOutOfMemory) throw std::bad_alloc();
  throw std::invalid_argument(std::string(status.message()));
}

StridedTensor values_of(const Tensor& tensor, const TensorName& name) {
  check_strided(tensor, name);
  const std::optional<DType> dtype = dtype_of(tensor.scalar_type());
  check(dtype.has_value(), name,
        ": expected dtype float32, float64, float16 or bfloat16, found torch's ",
        torch::headeronly::toString(tensor.scalar_type()));
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  return {const_cast<void*>(tensor.const_data_ptr()),
          *dtype,
          {sizes.data(), sizes.size()},
          {strides.data(), strides.size()}};
}

std::span<uint8_t> mask_bytes(const Tensor& mask) {
  return {static_cast<uint8_t*>(mask.mutable_data_ptr()), static_cast<size_t>(mask.numel())};
}

void check_mask(const Tensor& mask, const Tensor& data, const TensorName& name) {
  check_strided(mask, name);
  check(mask.scalar_type() == ScalarType::Char, name, ": expected dtype int8, found torch's ",
        torch::headeronly::toString(mask.scalar_type()));
  check(std::ranges::equal(mask.sizes(), data.sizes()), name, ": expected the data's shape ",
        Shape{data.sizes()}, ", found ", Shape{mask.sizes()});
  check(mask.is_contiguous(), name, ": expected contiguous memory, found strides ",
        Shape{mask.strides()});
}

void check_writable(const StridedTensor& values, const Tensor& data) {
  check(!is_expanded(values), "data: expected each value in a place of its own, found strides ",
        Shape{data.strides()}, " for shape ", Shape{data.sizes()});
}

void check_apart(std::span<const Tensor> masks, std::span<const Tensor> data) {
  const std::vector<Extent> sorted = sorted_extents(masks, "masks");
  for (size_t i = 1; i < sorted.size(); ++i) check_apart(sorted[i], sorted[i - 1]);
  for (size_t i = 0; i < data.size(); ++i) {
    const auto extent = extent_of(data[i], {"data", i});
    if (!extent) continue;
    // The masks lie apart and in order: the one before is the only earlier one that can reach here.
    auto mask = std::ranges::lower_bound(sorted, extent->begin, std::less<>(), &Extent::begin);
    if (mask != sorted.begin()) check_apart(*std::prev(mask), *extent);
    if (mask != sorted.end()) check_apart(*mask, *extent);
  }
}

}  // namespace winnow::python
