// Private: F32 values that were once text, as integers. The kind decimal of values.h.
#pragma once

#include "sparse/values.h"

namespace winnow::sparse {

/// Appends the values if nearly all of them are decimals of the same few significant digits and
/// that makes them smaller than `bits_limit` bits a value; returns whether it did.
bool append_decimals(std::span<const uint8_t> values, double bits_limit, StreamWriter& streams,
                     ValueScratch& scratch, Bytes& out);

/// Errors: kValues for parameters or indices out of range, those of streams.
Status read_decimals(ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                     std::span<uint8_t> out);

}  // namespace winnow::sparse
