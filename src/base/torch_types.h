// PRIVATE. The element types that torch and safetensors share.
#pragma once

#include <string_view>

#include "winnow/base/dtype.h"

namespace winnow {

/// One type as torch knows it.
struct TorchType {
  DType dtype;
  int number;                      ///< torch's ScalarType, stable in its ABI
  std::string_view name;           ///< in Python; empty if torch archives cannot have it
  std::string_view storage_class;  ///< in archives; empty if tensors view an untyped storage
};

inline constexpr TorchType kTorchTypes[] = {
    {DType::kBool, 11, "bool", "BoolStorage"},
    {DType::kU8, 0, "uint8", "ByteStorage"},
    {DType::kI8, 1, "int8", "CharStorage"},
    {DType::kI16, 2, "int16", "ShortStorage"},
    {DType::kI32, 3, "int32", "IntStorage"},
    {DType::kI64, 4, "int64", "LongStorage"},
    {DType::kF16, 5, "float16", "HalfStorage"},
    {DType::kBF16, 15, "bfloat16", "BFloat16Storage"},
    {DType::kF32, 6, "float32", "FloatStorage"},
    {DType::kF64, 7, "float64", "DoubleStorage"},
    {DType::kC64, 9, "complex64", "ComplexFloatStorage"},
    {DType::kU16, 27, "uint16", ""},
    {DType::kU32, 28, "uint32", ""},
    {DType::kU64, 29, "uint64", ""},
    {DType::kF8E5M2, 23, "float8_e5m2", ""},
    {DType::kF8E4M3, 24, "float8_e4m3fn", ""},
    {DType::kF8E8M0, 44, "float8_e8m0fnu", ""},
    {DType::kF8E4M3Fnuz, 26, "float8_e4m3fnuz", ""},
    {DType::kF8E5M2Fnuz, 25, "float8_e5m2fnuz", ""},
    {DType::kF4, 45, "", ""},  // packs two values of the last dimension into an element
};

/// The type whose `field` has that value, or null.
template <typename Field>
constexpr const TorchType* find_torch_type(Field TorchType::*field, const Field& value) noexcept {
  for (const TorchType& type : kTorchTypes) {
    if (type.*field == value) return &type;
  }
  return nullptr;
}

}  // namespace winnow
