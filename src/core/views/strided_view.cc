#include "winnow/core/strided_view.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "base/status_macros.h"
#include "winnow/base/concat.h"

namespace winnow {
namespace {

/// A tensor's name in messages, which is only made for an error.
struct Name {
  bool is_mask;
  size_t index;
  size_t count;

  std::string text() const { return target_name(is_mask, index, count); }
};

Status check_mask(const StridedTarget& target, const Name& name) {
  const StridedLayout &mask = target.mask.layout, &values = target.values.layout;
  if (!std::ranges::equal(mask.sizes, values.sizes)) {
    return {ErrorCode::kInvalidArgument,
            concat(name.text(), ": expected the data's shape ", list_text(values.sizes), ", found ",
                   list_text(mask.sizes))};
  }
  if (!mask.is_contiguous()) {
    return {ErrorCode::kInvalidArgument,
            name.text() + ": expected contiguous memory, found strides " + list_text(mask.strides)};
  }
  return {};
}

/// The bytes from the lowest element of a tensor to behind its highest, on one device.
struct Extent {
  int device;
  const char* begin;
  const char* end;
  Name name;

  auto order() const noexcept { return std::tuple(device, begin); }
  bool overlaps(const Extent& other) const noexcept {
    const std::less<> below;  // pointers into different memory have an order here alone
    return device == other.device && below(begin, other.end) && below(other.begin, end);
  }
};

Extent extent_of(const void* data, size_t itemsize, const StridedLayout& layout, int device,
                 const Name& name) {
  int64_t lowest = 0, highest = 0;
  for (size_t d = 0; d < layout.sizes.size(); ++d) {
    const int64_t reach = (layout.sizes[d] - 1) * layout.strides[d];
    (reach < 0 ? lowest : highest) += reach;
  }
  const auto size = static_cast<int64_t>(itemsize);
  const char* first = static_cast<const char*>(data);
  return {device, first + lowest * size, first + (highest + 1) * size, name};
}

Status check_apart(const Extent& mask, const Extent& other) {
  if (!mask.overlaps(other)) return {};
  return {ErrorCode::kInvalidArgument,
          mask.name.text() + ": expected memory of its own, found that of " + other.name.text()};
}

Extent mask_extent(std::span<const StridedTarget> targets, size_t i) {
  return extent_of(targets[i].mask.data, 1, targets[i].mask.layout, targets[i].device,
                   {true, i, targets.size()});
}

Extent values_extent(std::span<const StridedTarget> targets, size_t i) {
  const StridedView& values = targets[i].values;
  return extent_of(values.data, dtype_bits(values.dtype) / 8, values.layout, targets[i].device,
                   {false, i, targets.size()});
}

bool has_memory(const StridedTarget& target, const void* data) noexcept {
  return data != nullptr && target.values.layout.numel() > 0;
}

Status check_memory(std::span<const StridedTarget> targets) {
  std::vector<Extent> masks;
  masks.reserve(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    if (has_memory(targets[i], targets[i].mask.data)) masks.push_back(mask_extent(targets, i));
  }
  std::ranges::sort(masks, {}, &Extent::order);
  for (size_t i = 1; i < masks.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(check_apart(masks[i], masks[i - 1]));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!has_memory(targets[i], targets[i].values.data)) continue;
    const Extent values = values_extent(targets, i);
    // The masks lie apart and in order: the one before is the only earlier one that can reach here.
    const auto mask = std::ranges::lower_bound(masks, values.order(), {}, &Extent::order);
    if (mask != masks.begin()) WINNOW_RETURN_IF_ERROR(check_apart(*std::prev(mask), values));
    if (mask != masks.end()) WINNOW_RETURN_IF_ERROR(check_apart(*mask, values));
  }
  return {};
}

}  // namespace

int64_t StridedLayout::numel() const noexcept {
  if (std::ranges::find(sizes, 0) != sizes.end()) return 0;  // the others may overflow
  int64_t numel = 1;
  for (const int64_t size : sizes) numel *= size;
  return numel;
}

bool StridedLayout::is_contiguous() const noexcept {
  if (numel() == 0) return true;
  int64_t expected = 1;
  for (size_t d = sizes.size(); d-- > 0; expected *= sizes[d]) {
    if (sizes[d] != 1 && strides[d] != expected) return false;
  }
  return true;
}

bool StridedLayout::has_distinct_places() const noexcept {
  if (is_contiguous()) return true;
  // Each stride has to lead past all that dimensions with smaller strides reach. Ranks are small:
  // looking for the next larger stride each time needs no memory.
  int64_t reach = 0, done = -1;
  for (size_t round = 0; round < sizes.size(); ++round) {
    int64_t next = INT64_MAX, last = 0;
    size_t equal = 0;
    for (size_t d = 0; d < sizes.size(); ++d) {
      const int64_t stride = std::abs(strides[d]);
      if (sizes[d] <= 1 || stride <= done || stride > next) continue;
      equal = stride == next ? equal + 1 : 1;
      next = stride;
      last = sizes[d] - 1;
    }
    if (equal == 0) return true;
    if (equal > 1 || next <= reach) return false;
    reach += next * last;
    done = next;
  }
  return true;
}

std::string target_name(bool is_mask, size_t index, size_t count) {
  if (count == 1) return is_mask ? "mask" : "data";
  return concat(is_mask ? "masks[" : "data[", index, "]");
}

Status check_distinct_places(const StridedLayout& layout) {
  if (layout.has_distinct_places()) return {};
  return {ErrorCode::kInvalidArgument,
          concat("data: expected each value in a place of its own, found strides ",
                 list_text(layout.strides), " for sizes ", list_text(layout.sizes))};
}

MatrixShape matrix_shape(const StridedLayout& layout) noexcept {
  const auto numel = static_cast<size_t>(layout.numel());
  if (numel == 0) return {0, 0};
  size_t cols = 1;
  for (const int64_t size : layout.sizes) {
    if (size != 1) cols = static_cast<size_t>(size);
  }
  return {numel / cols, cols};
}

std::optional<MatrixView> view_in_place(const StridedView& tensor) noexcept {
  const auto [sizes, strides] = tensor.layout;
  const MatrixShape shape = matrix_shape(tensor.layout);
  const auto cols = static_cast<int64_t>(shape.cols);
  int64_t row_stride = cols, rows = 1;
  bool at_columns = true;
  for (size_t d = shape.numel() == 0 ? 0 : sizes.size(); d-- > 0;) {
    if (sizes[d] == 1) continue;
    if (at_columns) {
      if (strides[d] != 1) return std::nullopt;
      at_columns = false;
      continue;
    }
    if (rows == 1) row_stride = strides[d];
    if (row_stride < cols || strides[d] != row_stride * rows) return std::nullopt;
    rows *= sizes[d];
  }
  return MatrixView{tensor.data, tensor.dtype, shape, static_cast<size_t>(row_stride)};
}

Status check_targets(std::span<const StridedTarget> targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!is_prunable(targets[i].values.dtype)) {  // before a name is made of it
      return check_prunable(targets[i].values.dtype, Name{false, i, targets.size()}.text());
    }
    WINNOW_RETURN_IF_ERROR(check_mask(targets[i], {true, i, targets.size()}));
  }
  return check_memory(targets);
}

}  // namespace winnow
