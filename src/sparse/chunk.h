// Private: some consecutive values of a tensor, as bytes that are decoded on their own.
//
//     chunk   kind of positions (1 byte), kind of values (1 byte), signs (1 byte), a byte of 0,
//             values in a group (4 bytes), kept groups (4 bytes), positions, values, signs,
//             bytes of 0 up to a multiple of 8
//
// The values are those of the kept groups, in their order; those of dropped groups are 0. With no
// kept group, neither positions nor values follow. If signs is 1, a stream of one bit for each
// value of the chunk says which values of dropped groups are -0.0: a product with a mask leaves
// half of its zeros like that. If signs is 0, -0.0 is a value like others, and there is no such
// stream.
#pragma once

#include <span>

#include "kernels/kernel_table.h"
#include "sparse/positions.h"
#include "sparse/values.h"
#include "winnow/sparse/chunk_codec.h"

namespace winnow {

struct ChunkEncoder::State {
  explicit State(const kernels::KernelTable& kernels)
      : table(kernels), positions(kernels), scratch(kernels) {}

  // Throws std::bad_alloc.
  EncodedChunk encode(std::span<const uint8_t> values, DType dtype, size_t row);
  std::span<const uint8_t> gather(std::span<const uint8_t> values, size_t itemsize, size_t group);

  const kernels::KernelTable& table;
  sparse::StreamWriter streams;
  sparse::PositionCodec positions;
  sparse::ValueScratch scratch;
  // Leaves in `signs` which values are -0.0, and in `nonzero` which have a magnitude, if that is
  // worth it; else all that have a bit.
  bool find_nonzero(std::span<const uint8_t> values, size_t itemsize, bool has_signs);
  void append_signs(size_t values, size_t group);

  std::vector<uint64_t> nonzero, signs;
  sparse::GroupBits groups;
  sparse::Bytes kept, out;
};

namespace sparse {

// The fields at the front of a chunk.
struct ChunkFront {
  uint8_t position_kind = 0, value_kind = 0;
  bool has_signs = false;
  uint32_t group = 0;  // values in one
  uint32_t kept_groups = 0;
  size_t groups = 0;  // all of the chunk

  bool drops_groups() const noexcept { return kept_groups < groups; }
};

// Gives tests and fuzzers a way behind the checksum over the stored bytes.
class UncheckedDecoder {
 public:
  // ChunkDecoder::decode without a look at that checksum.
  static Status decode(ChunkDecoder& decoder, std::span<const std::byte> stored, uint32_t value_crc,
                       DType dtype, std::span<std::byte> out) {
    return decoder.decode_unchecked(stored, value_crc, dtype, out);
  }
};

}  // namespace sparse

struct ChunkDecoder::State {
  explicit State(const kernels::KernelTable& kernels)
      : table(kernels), positions(kernels), scratch(kernels) {}

  // Throws std::bad_alloc. Messages say at which byte of the chunk: in what follows the front,
  // behind the field that was read last.
  Status decode(std::span<const uint8_t> chunk, uint32_t value_crc, DType dtype,
                std::span<uint8_t> out);
  // Reads what follows the front: the values of all groups to `out`, or those of kept groups to
  // `kept`. Returns the CRC-32 of all.
  Result<uint32_t> read_parts(const sparse::ChunkFront& front, DType dtype,
                              sparse::ByteReader& from, std::span<uint8_t> out);
  Status read_groups(const sparse::ChunkFront& front, sparse::ByteReader& from);
  void scatter(size_t itemsize, size_t group, std::span<uint8_t> out) const;
  Status read_signs(sparse::ByteReader& from, size_t values, size_t group);
  void set_signs(size_t itemsize, std::span<uint8_t> out) const;

  const kernels::KernelTable& table;
  sparse::StreamReader streams;
  sparse::PositionCodec positions;
  sparse::ValueScratch scratch;
  sparse::GroupBits groups;
  std::vector<uint64_t> signs;
  sparse::Bytes kept, sign_bytes;
  bool is_streaming = false;
};

}  // namespace winnow
