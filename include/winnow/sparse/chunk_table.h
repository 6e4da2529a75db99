// Where the chunks of a compressed tensor are.
//
//     tensor   chunks, table, trailer
//     table    for each chunk: bytes (8), CRC-32 of them (4), CRC-32 of what they decode to (4)
//     trailer  values (8 bytes), values in a chunk (4), bytes of an element (1), 3 bytes of 0,
//              CRC-32 of the table and the 16 bytes before (4), "WNZ" and the format version (4)
//
// The trailer is last, so that a writer need not know the sizes of the chunks before it has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"
#include "winnow/sparse/error_codes.h"

namespace winnow {

inline constexpr size_t kTrailerBytes = 24;
inline constexpr size_t kTableEntryBytes = 16;
inline constexpr uint8_t kFormatVersion = 1;

/// Chunks have about so many values: enough to make the tables of codes cheap, few enough to be
/// read for a single row.
inline constexpr uint64_t kChunkValues = uint64_t{1} << 20;

/// The bytes of an element; 1 for types of less than a byte, whose bytes are the elements.
size_t element_bytes(DType dtype) noexcept;

/// The values of each chunk but the last: whole rows, if they are not longer than kChunkValues.
uint64_t chunk_values(uint64_t row) noexcept;

/// Where a chunk is, and what it must be.
struct ChunkEntry {
  uint64_t offset = 0;      ///< of its first byte, in the compressed tensor
  uint64_t bytes = 0;       ///< stored, not decoded
  uint32_t stored_crc = 0;  ///< the CRC-32 of these bytes
  uint32_t value_crc = 0;   ///< of what they decode to, see EncodedChunk
};

/// The trailer and the table, checked. 24 bytes of memory a chunk. Const members may be called from
/// several threads at once.
class ChunkTable {
 public:
  /// What a writer starts with.
  ChunkTable(DType dtype, uint64_t values, uint64_t values_per_chunk);

  /// Adds the next chunk.
  void add(std::span<const std::byte> chunk, uint32_t value_crc);

  /// The table and the trailer as bytes.
  std::vector<std::byte> encode() const;

  /// The size of table and trailer of a tensor of `total` bytes that ends with that trailer.
  /// `values` and `dtype` are what the tensor is said to be. Errors: kSparseTruncated, also if the
  /// table is larger than the tensor, kSparseMagic, kSparseVersion, kSparseSize.
  static Result<uint64_t> end_bytes(std::span<const std::byte> trailer, uint64_t total, DType dtype,
                                    uint64_t values);

  /// The table out of the last end_bytes of a tensor of `total` bytes.
  /// Errors: as above, kSparseStoredChecksum, kSparseTrailing; no memory is taken for more chunks
  /// than fit into the tensor.
  static Result<ChunkTable> decode(std::span<const std::byte> end, uint64_t total, DType dtype,
                                   uint64_t values);

  std::span<const ChunkEntry> chunks() const noexcept { return chunks_; }
  uint64_t values_per_chunk() const noexcept { return values_per_chunk_; }
  uint64_t bytes_per_chunk() const noexcept { return values_per_chunk_ * itemsize_; }
  uint64_t bytes() const noexcept { return values_ * itemsize_; }  ///< of the decoded values

 private:
  size_t itemsize_;
  uint64_t values_, values_per_chunk_;
  std::vector<ChunkEntry> chunks_;
};

}  // namespace winnow
