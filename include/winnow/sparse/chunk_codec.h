// Compresses some consecutive values of a tensor, and decompresses them, each chunk on its own.
//
//   WINNOW_ASSIGN_OR_RETURN(ChunkEncoder encoder, ChunkEncoder::create());
//   WINNOW_ASSIGN_OR_RETURN(const EncodedChunk chunk, encoder.encode(values, DType::kF32, row));
//   table.add(chunk.bytes, chunk.value_crc);
//
// What compress_values does for a whole tensor in memory; files use chunks (checkpoint/compress.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"
#include "winnow/sparse/chunk_table.h"

namespace winnow {

namespace sparse {
class UncheckedDecoder;
}

/// A chunk, and the CRC-32 of what it decodes to: the bits of its groups, unless all are kept, then
/// the kept values, and the signs of dropped ones if some are -0.0. (Dropped values add nothing: at
/// 90 % zeros a checksum over all would take as long as decoding them.)
struct EncodedChunk {
  std::span<const std::byte> bytes;  ///< valid until the encoder's next call
  uint32_t value_crc = 0;
};

/// Encodes chunks, in memory that it keeps: some 6 times the largest chunk. Movable, not
/// thread-safe.
class ChunkEncoder {
 public:
  /// Errors: kOutOfMemory, kUnavailableLevel.
  static Result<ChunkEncoder> create();

  ChunkEncoder(ChunkEncoder&&) noexcept;
  ChunkEncoder& operator=(ChunkEncoder&&) noexcept;
  ~ChunkEncoder();

  /// @param values  whole elements, of a tensor with `row` values in a row
  /// The bytes depend on the arguments and the version of libzstd, not on what was encoded before.
  /// Error: kOutOfMemory.
  Result<EncodedChunk> encode(std::span<const std::byte> values, DType dtype, uint64_t row);

 private:
  struct State;
  explicit ChunkEncoder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Decodes chunks, in memory that it keeps: up to 3 times the largest chunk. Movable, not
/// thread-safe.
class ChunkDecoder {
 public:
  /// Errors: kOutOfMemory, kUnavailableLevel.
  static Result<ChunkDecoder> create();

  ChunkDecoder(ChunkDecoder&&) noexcept;
  ChunkDecoder& operator=(ChunkDecoder&&) noexcept;
  ~ChunkDecoder();

  /// Whether values of pruned chunks are written around the caches [false]: faster if together they
  /// are larger than the caches, slower if each chunk is read as soon as it is decoded.
  void write_around_caches(bool is_on) noexcept;

  /// Fills `out` with the values of the chunk `entry` of a table, `stored` being its bytes. Neither
  /// is trusted. Errors: those of SparseError, kOutOfMemory, with `out` in any state.
  Status decode(std::span<const std::byte> stored, const ChunkEntry& entry, DType dtype,
                std::span<std::byte> out);

 private:
  friend class sparse::UncheckedDecoder;
  struct State;
  Status decode_unchecked(std::span<const std::byte> stored, uint32_t value_crc, DType dtype,
                          std::span<std::byte> out);
  explicit ChunkDecoder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The bytes at the front of a chunk that say how it is encoded.
inline constexpr size_t kFrontBytes = 12;

/// The same for people: "gaps, window" or "zeros". `front` has kFrontBytes bytes.
std::string encoding_text(std::span<const std::byte> front);

}  // namespace winnow
