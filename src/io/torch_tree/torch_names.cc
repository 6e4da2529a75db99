#include "io/torch_tree/torch_names.h"

#include <algorithm>

namespace winnow::io {
namespace {

struct TorchType {
  DType dtype;
  std::string_view name;
  std::string_view storage_class;
};

constexpr TorchType kTypes[] = {
    {DType::kBool, "bool", "BoolStorage"},
    {DType::kU8, "uint8", "ByteStorage"},
    {DType::kI8, "int8", "CharStorage"},
    {DType::kI16, "int16", "ShortStorage"},
    {DType::kI32, "int32", "IntStorage"},
    {DType::kI64, "int64", "LongStorage"},
    {DType::kF16, "float16", "HalfStorage"},
    {DType::kBF16, "bfloat16", "BFloat16Storage"},
    {DType::kF32, "float32", "FloatStorage"},
    {DType::kF64, "float64", "DoubleStorage"},
    {DType::kC64, "complex64", "ComplexFloatStorage"},
    {DType::kU16, "uint16", ""},
    {DType::kU32, "uint32", ""},
    {DType::kU64, "uint64", ""},
    {DType::kF8E5M2, "float8_e5m2", ""},
    {DType::kF8E4M3, "float8_e4m3fn", ""},
    {DType::kF8E8M0, "float8_e8m0fnu", ""},
    {DType::kF8E4M3Fnuz, "float8_e4m3fnuz", ""},
    {DType::kF8E5M2Fnuz, "float8_e5m2fnuz", ""},
};

constexpr std::string_view kUnsupported[] = {"complex32", "complex128", "quint8",
                                             "qint8",     "qint32",     "quint4x2",
                                             "quint2x4",  "bits1x8",    "bits2x4",
                                             "bits4x2",   "bits8",      "bits16",
                                             "uint1",     "uint2",      "uint3",
                                             "uint4",     "uint5",      "uint6",
                                             "uint7",     "int1",       "int2",
                                             "int3",      "int4",       "int5",
                                             "int6",      "int7",       "float4_e2m1fn_x2",
                                             "bcomplex32"};

const TorchType* find(DType dtype) {
  const auto* found = std::ranges::find(kTypes, dtype, &TorchType::dtype);
  return found == std::end(kTypes) ? nullptr : found;
}

std::optional<DType> dtype_of(const TorchType* found) {
  return found == std::end(kTypes) ? std::nullopt : std::optional(found->dtype);
}

}  // namespace

std::string_view torch_dtype_name(DType dtype) noexcept {
  const TorchType* type = find(dtype);
  return type == nullptr ? std::string_view() : type->name;
}

std::string_view storage_class_name(DType dtype) noexcept {
  const TorchType* type = find(dtype);
  return type == nullptr ? std::string_view() : type->storage_class;
}

std::optional<DType> dtype_from_torch_name(std::string_view name) noexcept {
  return dtype_of(std::ranges::find(kTypes, name, &TorchType::name));
}

std::optional<DType> dtype_from_storage_class(std::string_view name) noexcept {
  if (name.empty()) return std::nullopt;
  return dtype_of(std::ranges::find(kTypes, name, &TorchType::storage_class));
}

bool is_unsupported_type(std::string_view name) noexcept {
  return name.ends_with("Storage") ||
         std::ranges::find(kUnsupported, name) != std::end(kUnsupported);
}

std::optional<uint64_t> parse_storage_number(std::string_view text) {
  constexpr size_t kMaxDigits = 18;
  if (text.empty() || text.size() > kMaxDigits) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

}  // namespace winnow::io
