#include "sparse/values.h"

#include <algorithm>

#include "base/status_macros.h"
#include "sparse/decimals.h"
#include "sparse/float_split.h"
#include "winnow/sparse/chunk_table.h"

namespace winnow::sparse {
namespace {

void append_planes(std::span<const uint8_t> values, size_t itemsize, StreamWriter& streams,
                   ValueScratch& scratch, Bytes& out) {
  for (size_t b = 0; b < itemsize; ++b) {
    scratch.plane.resize(values.size() / itemsize);
    for (size_t i = 0; i < scratch.plane.size(); ++i) scratch.plane[i] = values[i * itemsize + b];
    streams.append(scratch.plane, StreamContent::kPatterns, out);
  }
}

Status read_planes(size_t itemsize, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                   std::span<uint8_t> out) {
  const size_t n = out.size() / itemsize;
  for (size_t b = 0; b < itemsize; ++b) {
    WINNOW_ASSIGN_OR_RETURN(const auto plane, streams.read(from, n, scratch.plane));
    for (size_t i = 0; i < n; ++i) out[i * itemsize + b] = plane[i];
  }
  return Status();
}

}  // namespace

double likely_value_bits(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF16:
      return 12;
    case DType::kBF16:
      return 8;
    case DType::kF32:
      return 24;
    default:
      return static_cast<double>(8 * element_bytes(dtype));
  }
}

ValueKind append_values(std::span<const uint8_t> values, DType dtype, StreamWriter& streams,
                        ValueScratch& scratch, Bytes& out) {
  if (dtype == DType::kF32 &&
      append_decimals(values, likely_value_bits(dtype) - 1, streams, scratch, out)) {
    return ValueKind::kDecimal;
  }
  ValueKind kind = ValueKind::kPlanes;
  if (is_prunable(dtype) && append_split(values, dtype, streams, scratch, out, kind)) return kind;
  append_planes(values, element_bytes(dtype), streams, scratch, out);
  return ValueKind::kPlanes;
}

Status read_values(ValueKind kind, DType dtype, ByteReader& from, StreamReader& streams,
                   ValueScratch& scratch, std::span<uint8_t> out) {
  if (kind == ValueKind::kPlanes) {
    return read_planes(element_bytes(dtype), from, streams, scratch, out);
  }
  if (kind == ValueKind::kDecimal && dtype == DType::kF32) {
    return read_decimals(from, streams, scratch, out);
  }
  if (kind == ValueKind::kWindow && is_prunable(dtype)) {
    return read_window(dtype, from, streams, scratch, out);
  }
  if (kind == ValueKind::kExponent && is_prunable(dtype)) {
    return read_exponent(dtype, from, streams, scratch, out);
  }
  return {SparseError::kSparseUnknownKind,
          concat("expected a kind of values that ", dtype_name(dtype), " has, found ",
                 static_cast<unsigned>(kind))};
}

}  // namespace winnow::sparse
