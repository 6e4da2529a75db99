#include "torch/support/dtype_map.h"

#include <utility>

namespace winnow::internal {
namespace {

using c10::ScalarType;

constexpr std::pair<ScalarType, DType> kSameTypes[] = {
    {ScalarType::Bool, DType::kBool},
    {ScalarType::Byte, DType::kU8},
    {ScalarType::Char, DType::kI8},
    {ScalarType::Short, DType::kI16},
    {ScalarType::UInt16, DType::kU16},
    {ScalarType::Int, DType::kI32},
    {ScalarType::UInt32, DType::kU32},
    {ScalarType::Long, DType::kI64},
    {ScalarType::UInt64, DType::kU64},
    {ScalarType::Half, DType::kF16},
    {ScalarType::BFloat16, DType::kBF16},
    {ScalarType::Float, DType::kF32},
    {ScalarType::Double, DType::kF64},
    {ScalarType::ComplexFloat, DType::kC64},
    {ScalarType::Float8_e5m2, DType::kF8E5M2},
    {ScalarType::Float8_e4m3fn, DType::kF8E4M3},
    {ScalarType::Float8_e5m2fnuz, DType::kF8E5M2Fnuz},
    {ScalarType::Float8_e4m3fnuz, DType::kF8E4M3Fnuz},
    {ScalarType::Float8_e8m0fnu, DType::kF8E8M0},
    {ScalarType::Float4_e2m1fn_x2, DType::kF4},
};

}  // namespace

std::optional<DType> dtype_of(ScalarType type) noexcept {
  for (const auto& [scalar_type, dtype] : kSameTypes) {
    if (scalar_type == type) return dtype;
  }
  return std::nullopt;
}

std::optional<ScalarType> scalar_type_of(DType dtype) noexcept {
  for (const auto& [scalar_type, known] : kSameTypes) {
    if (known == dtype) return scalar_type;
  }
  return std::nullopt;
}

}  // namespace winnow::internal
