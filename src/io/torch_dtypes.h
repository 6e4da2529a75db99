// Private: the names that torch gives to element types and to the storages of each.
#pragma once

#include <optional>
#include <string_view>

#include "winnow/base/dtype.h"

namespace winnow::io {

/// torch's name of a type, for example "bfloat16"; empty where torch has none.
std::string_view torch_dtype_name(DType dtype) noexcept;

/// The storage class for a type, for example "BFloat16Storage"; empty where tensors of that type
/// are views of an untyped storage, or torch has none.
std::string_view storage_class_name(DType dtype) noexcept;

std::optional<DType> dtype_from_torch_name(std::string_view name) noexcept;
std::optional<DType> dtype_from_storage_class(std::string_view name) noexcept;

/// Whether `name`, of the module torch, is a storage class or type of torch's that winnow has not.
bool is_unsupported_type(std::string_view name) noexcept;

}  // namespace winnow::io
