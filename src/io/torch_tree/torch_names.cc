#include "io/torch_tree/torch_names.h"

#include <algorithm>
#include <charconv>

#include "base/torch_types.h"

namespace winnow::io {
namespace {

// Types of torch that a pickle may name. They get a message of their own, since the file is fine:
// winnow has no DType for them, or they are quantized or packed.
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

/// The type whose `field` is `name`; none has an empty name.
std::optional<DType> dtype_of(std::string_view TorchType::*field, std::string_view name) {
  const TorchType* type = name.empty() ? nullptr : find_torch_type(field, name);
  return type == nullptr ? std::nullopt : std::optional(type->dtype);
}

}  // namespace

std::string_view torch_dtype_name(DType dtype) noexcept {
  const TorchType* type = find_torch_type(&TorchType::dtype, dtype);
  return type == nullptr ? std::string_view() : type->name;
}

std::string_view storage_class_name(DType dtype) noexcept {
  const TorchType* type = find_torch_type(&TorchType::dtype, dtype);
  return type == nullptr ? std::string_view() : type->storage_class;
}

std::optional<DType> dtype_from_torch_name(std::string_view name) noexcept {
  return dtype_of(&TorchType::name, name);
}

std::optional<DType> dtype_from_storage_class(std::string_view name) noexcept {
  return dtype_of(&TorchType::storage_class, name);
}

bool is_unsupported_type(std::string_view name) noexcept {
  // Every storage class is called so, those of types still to come as well.
  return name.ends_with("Storage") ||
         std::ranges::find(kUnsupported, name) != std::end(kUnsupported);
}

std::optional<uint64_t> parse_storage_number(std::string_view text) {
  constexpr size_t kMaxDigits = 18;  // which 63 bits hold
  if (text.empty() || text.size() > kMaxDigits) return std::nullopt;
  // One text for each number: data/07 would be another record than data/7.
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const bool is_number = std::from_chars(text.data(), end, number).ptr == end;
  return is_number ? std::optional(number) : std::nullopt;
}

}  // namespace winnow::io
