#include "tensor_checks.h"

#include <torch/headeronly/core/Layout.h>
#include <torch/headeronly/core/ScalarType.h>

#include <new>

#include "base/torch_types.h"

namespace winnow::python {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_strided(const Tensor& tensor, const std::string& name) {
  check(tensor.defined(), name, ": expected a tensor, found an undefined one");
  int32_t layout = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(tensor.get(), &layout));
  check(layout == aoti_torch_layout_strided(), name,
        ": expected layout torch.strided, found another (a sparse tensor?)");
  check(tensor.is_cpu(), name, ": expected a tensor on the CPU, as the others are");
}

StridedMask mask_of(const Tensor& mask, const std::string& name) {
  check_strided(mask, name);
  check(mask.scalar_type() == ScalarType::Char, name, ": expected dtype int8, found torch's ",
        torch::headeronly::toString(mask.scalar_type()));
  return {static_cast<uint8_t*>(mask.mutable_data_ptr()), layout_of(mask)};
}

}  // namespace

void check_ok(const Status& status) {
  if (status.ok()) return;
  if (status.code() == ErrorCode::kOutOfMemory) throw std::bad_alloc();
  throw std::invalid_argument(std::string(status.message()));
}

StridedLayout layout_of(const Tensor& tensor) {
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  return {{sizes.data(), sizes.size()}, {strides.data(), strides.size()}};
}

StridedView values_of(const Tensor& tensor, const std::string& name) {
  check_strided(tensor, name);
  const TorchType* type =
      find_torch_type(&TorchType::number, static_cast<int>(tensor.scalar_type()));
  check(type != nullptr && is_prunable(type->dtype), name,
        ": expected dtype float32, float64, float16 or bfloat16, found torch's ",
        torch::headeronly::toString(tensor.scalar_type()));
  return {tensor.const_data_ptr(), type->dtype, layout_of(tensor)};
}

std::vector<StridedTarget> targets_of(std::span<const Tensor> data, std::span<const Tensor> masks) {
  std::vector<StridedTarget> targets;
  targets.reserve(data.size());
  for (size_t i = 0; i < data.size(); ++i) {
    targets.push_back({values_of(data[i], target_name(false, i, data.size())),
                       mask_of(masks[i], target_name(true, i, data.size()))});
  }
  return targets;
}

}  // namespace winnow::python
