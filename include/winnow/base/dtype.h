// The element types of safetensors files, their sizes and names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace winnow {

/// An element type, with safetensors' name. winnow computes with F16, BF16, F32 and F64 and copies
/// values of all other types unchanged.
enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

/// Returns the name in a safetensors header, for example "BF16" or "F8_E4M3".
std::string_view dtype_name(DType dtype) noexcept;

/// Returns the type with that name, or nullopt if there is none. Names are case-sensitive.
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// Returns the size of an element in bits: 4 (F4), 6 (F6_*) or a multiple of 8.
size_t dtype_bits(DType dtype) noexcept;

/// Returns true for the types whose values can be pruned: F16, BF16, F32 and F64.
bool is_prunable(DType dtype) noexcept;

}  // namespace winnow
