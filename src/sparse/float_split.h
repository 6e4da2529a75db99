// Private: floating-point values as heads, which entropy coding makes smaller, and tails, which are
// noise. The kinds window and exponent of values.h.
#pragma once

#include "sparse/values.h"

namespace winnow::sparse {

/// Appends the values in the kind that suits them: window if three exponents have nearly all of
/// them, else exponent. Returns false, with nothing appended, for F64 values of too many exponents.
/// Precondition: is_prunable(dtype).
bool append_split(std::span<const uint8_t> values, DType dtype, StreamWriter& streams,
                  ValueScratch& scratch, Bytes& out, ValueKind& kind);

/// Errors: kValues for escapes that do not match, those of streams.
Status read_window(DType dtype, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                   std::span<uint8_t> out);
Status read_exponent(DType dtype, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                     std::span<uint8_t> out);

}  // namespace winnow::sparse
