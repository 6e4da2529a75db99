// The values of one tensor, compressed without losing a bit. docs/formats.md describes the bytes.
//
//   Result<std::vector<std::byte>> small = compress_values(bytes, DType::kF32, row, threads);
//   WINNOW_RETURN_IF_ERROR(decompress_values(*small, DType::kF32, bytes, threads));
//
// Pruned values cost their positions and what a survivor is really worth: 24 bits an F32, 8 bits a
// BF16 at 80 % zeros and more. NaN payloads, infinities, denormals and the sign of -0.0 are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/sparse/error_codes.h"

namespace winnow {

/// Compresses the values of a tensor, in chunks of about a million values.
///
/// @param values  the tensor's bytes, row-major, at any alignment
/// @param row     values in a row, the tensor's last dimension; at least 1. Rows that are dropped
///                whole are found by it.
/// The result depends on the values, `row` and the version of libzstd, never on the threads. It is
/// at most 0.1 % and 1 KiB larger than the values. Memory: the result, and some 7 chunks a thread.
/// Errors: kInvalidArgument if the bytes are no whole elements, kOutOfMemory.
Result<std::vector<std::byte>> compress_values(std::span<const std::byte> values, DType dtype,
                                               uint64_t row, ParallelFor& threads);

/// Fills `out` with the values of `compressed`, which is not trusted. Memory: about 2 chunks a
/// thread. Errors: those of SparseError, with `out` in any state; kOutOfMemory.
Status decompress_values(std::span<const std::byte> compressed, DType dtype,
                         std::span<std::byte> out, ParallelFor& threads);

/// The version of libzstd that compresses, as "1.5.4".
std::string zstd_version();

}  // namespace winnow
