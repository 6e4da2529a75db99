// Private: the names that torch gives to element types, to the storages of each and to their
// records.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "winnow/base/dtype.h"

namespace winnow::io {

/// torch's name of a type, for example "bfloat16"; empty if torch has none.
std::string_view torch_dtype_name(DType dtype) noexcept;

/// The storage class for a type, for example "BFloat16Storage"; empty if tensors of that type
/// are views of an untyped storage, or torch has none.
std::string_view storage_class_name(DType dtype) noexcept;

std::optional<DType> dtype_from_torch_name(std::string_view name) noexcept;
std::optional<DType> dtype_from_storage_class(std::string_view name) noexcept;

/// Whether `name`, of the module torch, is a storage class or type of torch's that winnow has not.
bool is_unsupported_type(std::string_view name) noexcept;

/// The N of a record data/N, as torch writes it: decimal, without leading zeros, at most 18 digits,
/// which fit into 63 bits. Nothing for any other text.
std::optional<uint64_t> parse_storage_number(std::string_view text);

}  // namespace winnow::io
