// Private: some consecutive values of a tensor, as bytes that are decoded on their own.
//
//     chunk   kind of positions (1 byte), kind of values (1 byte), 2 bytes of 0,
//             values in a group (4 bytes), kept groups (4 bytes), positions, values,
//             bytes of 0 up to a multiple of 8
//
// The values are those of the kept groups, in their order; those of dropped groups are all 0. With
// no kept group, neither positions nor values follow.
#pragma once

#include <span>

#include "kernels/kernel_table.h"
#include "sparse/positions.h"
#include "sparse/values.h"
#include "winnow/sparse/chunk_codec.h"

namespace winnow {

struct ChunkEncoder::State {
  explicit State(const kernels::KernelTable& kernels) : table(kernels), positions(kernels) {}

  // Throws std::bad_alloc.
  EncodedChunk encode(std::span<const uint8_t> values, DType dtype, size_t row);
  std::span<const uint8_t> gather(std::span<const uint8_t> values, size_t itemsize, size_t group);

  const kernels::KernelTable& table;
  sparse::StreamWriter streams;
  sparse::PositionCodec positions;
  sparse::ValueScratch scratch;
  std::vector<uint64_t> nonzero;
  sparse::GroupBits groups;
  sparse::Bytes kept, out;
};

struct ChunkDecoder::State {
  explicit State(const kernels::KernelTable& kernels) : table(kernels), positions(kernels) {}

  // Throws std::bad_alloc.
  Status decode(std::span<const uint8_t> chunk, uint32_t value_crc, DType dtype,
                std::span<uint8_t> out);
  void scatter(size_t itemsize, size_t group, std::span<uint8_t> out) const;

  const kernels::KernelTable& table;
  sparse::StreamReader streams;
  sparse::PositionCodec positions;
  sparse::ValueScratch scratch;
  sparse::GroupBits groups;
  sparse::Bytes kept;
};

}  // namespace winnow
