#include "torch/mask_checks.h"

#include <algorithm>
#include <functional>
#include <ostream>
#include <tuple>
#include <vector>

#include "torch/check_status.h"

namespace winnow {
namespace {

/// A tensor's name in messages: its number is told where there are several.
struct Name {
  const char* name;
  size_t index;
  size_t count;
};

std::ostream& operator<<(std::ostream& stream, const Name& name) {
  if (name.count > 1) stream << "targets[" << name.index << "].";
  return stream << name.name;
}

void check_plain(const at::Tensor& tensor, const Name& name) {
  TORCH_CHECK_VALUE(tensor.defined(), name, ": expected a tensor, found an undefined one");
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided, name, ": expected layout Strided, found ",
                    tensor.layout());
}

void check_data(const at::Tensor& data, const Name& name) {
  check_plain(data, name);
  TORCH_CHECK_VALUE(is_prunable_type(data.scalar_type()), name,
                    ": expected dtype Float, Double, Half or BFloat16, found ", data.scalar_type());
}

void check_mask(const at::Tensor& mask, const at::Tensor& data, const Name& name) {
  check_plain(mask, name);
  TORCH_CHECK_VALUE(mask.scalar_type() == at::kChar, name, ": expected dtype Char (int8), found ",
                    mask.scalar_type());
  TORCH_CHECK_VALUE(mask.sizes() == data.sizes(), name, ": expected the data's shape ",
                    data.sizes(), ", found ", mask.sizes());
  TORCH_CHECK_VALUE(mask.device() == data.device(), name, ": expected the data's device ",
                    data.device(), ", found ", mask.device());
  TORCH_CHECK_VALUE(mask.is_contiguous(), name, ": expected contiguous memory, found strides ",
                    mask.strides());
  TORCH_CHECK_VALUE(!mask.is_neg() && !mask._is_zerotensor(), name,
                    ": expected memory of its own, found a lazy negative or zero tensor");
}

/// The bytes from a tensor's first element to its last, [begin, end) on a device.
struct Extent {
  c10::Device device;
  const char* begin;
  const char* end;
  Name name;

  auto order() const noexcept { return std::tuple(device.type(), device.index(), begin); }
  bool overlaps(const Extent& other) const noexcept {
    const std::less<> below;
    return device == other.device && below(begin, other.end) && below(other.begin, end);
  }
};

/// False where the tensor has no bytes: empty, meta, or known to its device alone.
bool has_extent(const at::Tensor& tensor) {
  return tensor.numel() > 0 && tensor.has_storage() && !tensor.is_meta() &&
         !tensor._is_zerotensor();
}

Extent extent_of(const at::Tensor& tensor, const Name& name) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  const auto* begin = static_cast<const char*>(tensor.const_data_ptr());
  return {tensor.device(), begin, begin + (last + 1) * tensor.element_size(), name};
}

void check_apart(const Extent& mask, const Extent& other) {
  TORCH_CHECK_VALUE(!mask.overlaps(other), mask.name,
                    ": expected memory of its own, found that of ", other.name);
}

void check_memory(std::span<const TensorMask> targets) {
  std::vector<Extent> masks;
  masks.reserve(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!has_extent(targets[i].mask)) continue;
    masks.push_back(extent_of(targets[i].mask, {"mask", i, targets.size()}));
  }
  std::ranges::sort(masks, {}, &Extent::order);
  for (size_t i = 1; i < masks.size(); ++i) check_apart(masks[i], masks[i - 1]);
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!has_extent(targets[i].data)) continue;
    const Extent data = extent_of(targets[i].data, {"data", i, targets.size()});
    // The masks lie apart and in order: the one before is the only earlier one that can reach here.
    auto mask = std::ranges::lower_bound(masks, data.order(), {}, &Extent::order);
    if (mask != masks.begin()) check_apart(*std::prev(mask), data);
    if (mask != masks.end()) check_apart(*mask, data);
  }
}

}  // namespace

bool is_prunable_type(c10::ScalarType type) noexcept {
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

void check_mask_data(const at::Tensor& data) { check_data(data, {"data", 0, 1}); }

void check_mask_targets(std::span<const TensorMask> targets, const DataNormConfig& config) {
  check_ok(validate(config));
  for (size_t i = 0; i < targets.size(); ++i) {
    check_data(targets[i].data, {"data", i, targets.size()});
    check_mask(targets[i].mask, targets[i].data, {"mask", i, targets.size()});
  }
  check_memory(targets);
}

}  // namespace winnow
