// Private: the kept values of a chunk, from values to bytes and back.
//
//     kind planes    for each byte of a value, the lowest first, a stream of that byte of all
//     values kind window    3 exponents (2 bytes each), number of escapes (4 bytes), stream of
//     heads,
//                    streams of the escapes' exponents by byte, planes of the tails
//     kind exponent  base (2 bytes), stream of heads, planes of the tails
//     kind decimal   digits (1 byte), first decade (1 byte, signed), shift (1 byte), first index
//                    (4 bytes), number of exceptions (4 bytes), stream of heads, planes of the
//                    tails, and by byte, streams of the exceptions' indices and of their values
//
// A head is a byte of a value that is worth less than 8 bits; a tail is the rest, which is noise.
//   window: pruning drops small values, so two or three exponents have nearly all that are kept. A
//     head is the number of the exponent, 3 for any other (an escape), and the top 6 bits of the
//     mantissa; a tail the rest of the mantissa, and the sign above it.
//   exponent: for values that were not pruned. A head is exponent - base; for F16, whose exponent
//     has 5 bits, with the top 3 bits of the mantissa below it.
//   decimal: for F32 that was once text. All numbers of so many significant digits have an index in
//     the order of their size: d x 10^(e - digits + 1), with 10^(digits - 1) <= d < 10^digits, has
//     (e - first decade) x 9 x 10^(digits - 1) + d - 10^(digits - 1). A head is (index - first
//     index) >> shift, a tail the low `shift` bits and the sign above them. Values that are no such
//     numbers are exceptions: they have the first index and stand in a list besides.
//
// Numbers of `bits` bits in planes: see bit_planes.h; each plane is a stream.
#pragma once

#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include "kernels/kernel_table.h"
#include "sparse/stream.h"
#include "sparse/tails.h"
#include "winnow/base/dtype.h"

namespace winnow::sparse {

enum class ValueKind : uint8_t { kPlanes = 0, kWindow = 1, kExponent = 2, kDecimal = 3 };

/// What the codecs of a chunk share. Not thread-safe.
struct ValueScratch {
  explicit ValueScratch(const kernels::KernelTable& kernels) : table(kernels) {}

  const kernels::KernelTable& table;
  Bytes heads, plane, escapes;
  PlaneBuffers planes;
  std::vector<uint32_t> indices;

  template <typename Number>
  std::vector<Number>& tails() {
    return std::get<std::vector<Number>>(tails_);
  }

 private:
  std::tuple<std::vector<uint16_t>, std::vector<uint32_t>, std::vector<uint64_t>> tails_;
};

/// Appends the values, of an element size of 1, 2, 4 or 8 bytes, in the kind that is the smallest;
/// returns it.
ValueKind append_values(std::span<const uint8_t> values, DType dtype, StreamWriter& streams,
                        ValueScratch& scratch, Bytes& out);

/// Takes the values that fill `out`. Errors: kUnknownKind, kValues, those of streams.
Status read_values(ValueKind kind, DType dtype, ByteReader& from, StreamReader& streams,
                   ValueScratch& scratch, std::span<uint8_t> out);

/// What a kept value of that type is probably worth, in bits: for decisions that are made before
/// values are looked at.
double likely_value_bits(DType dtype) noexcept;

}  // namespace winnow::sparse
