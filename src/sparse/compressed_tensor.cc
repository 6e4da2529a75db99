#include "winnow/sparse/compressed_tensor.h"

#include <zstd.h>

#include <algorithm>
#include <new>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/sparse/chunk_codec.h"

namespace winnow {
namespace {

// Less may still be in a cache when the caller reads it.
constexpr size_t kLargeResult = size_t{16} << 20;

Status out_of_memory() { return {ErrorCode::kOutOfMemory, "not enough memory for the values"}; }

// Calls work(codec, i) -> Status for i in [0, count) on the threads lent, each with a codec of its
// own. Of the errors, that of the first i is returned.
template <typename Codec, typename Work>
Status for_each_chunk(size_t count, ParallelFor& threads, const Work& work) {
  std::vector<Codec> codecs;
  const size_t slots = std::min(count, threads.concurrency());
  for (size_t slot = 0; slot < slots; ++slot) {
    WINNOW_ASSIGN_OR_RETURN(Codec codec, Codec::create());
    codecs.push_back(std::move(codec));
  }
  std::vector<Status> statuses(count);
  threads.run(slots, [&](size_t slot) {
    for (size_t i = slot; i < count; i += slots) statuses[i] = work(codecs[slot], i);
  });
  for (size_t i = 0; i < count; ++i) {
    if (!statuses[i].ok()) return statuses[i].with_context(concat("chunk ", i));
  }
  return Status();
}

}  // namespace

Result<std::vector<std::byte>> compress_values(std::span<const std::byte> values, DType dtype,
                                               uint64_t row, ParallelFor& threads) try {
  const size_t itemsize = element_bytes(dtype);
  if (values.size() % itemsize != 0) {
    return Status(ErrorCode::kInvalidArgument, concat("expected elements of ", itemsize,
                                                      " bytes, found ", values.size(), " bytes"));
  }
  ChunkTable table(dtype, values.size() / itemsize, chunk_values(row));
  const size_t step = table.bytes_per_chunk();
  struct Encoded {
    std::vector<std::byte> bytes;
    uint32_t value_crc = 0;
  };
  std::vector<Encoded> chunks((values.size() + step - 1) / step);
  const auto encode = [&](ChunkEncoder& encoder, size_t i) -> Status {
    try {
      const auto chunk = values.subspan(i * step, std::min(step, values.size() - i * step));
      WINNOW_ASSIGN_OR_RETURN(const EncodedChunk encoded, encoder.encode(chunk, dtype, row));
      chunks[i] = {{encoded.bytes.begin(), encoded.bytes.end()}, encoded.value_crc};
      return Status();
    } catch (const std::bad_alloc&) {
      return out_of_memory();
    }
  };
  WINNOW_RETURN_IF_ERROR(for_each_chunk<ChunkEncoder>(chunks.size(), threads, encode));
  std::vector<std::byte> out;
  for (const Encoded& chunk : chunks) {
    table.add(chunk.bytes, chunk.value_crc);
    out.insert(out.end(), chunk.bytes.begin(), chunk.bytes.end());
  }
  const std::vector<std::byte> end = table.encode();
  out.insert(out.end(), end.begin(), end.end());
  return out;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status decompress_values(std::span<const std::byte> compressed, DType dtype,
                         std::span<std::byte> out, ParallelFor& threads) try {
  const uint64_t values = out.size() / element_bytes(dtype);
  WINNOW_ASSIGN_OR_RETURN(const uint64_t end_bytes,
                          ChunkTable::end_bytes(compressed, compressed.size(), dtype, values));
  WINNOW_ASSIGN_OR_RETURN(
      const ChunkTable table,
      ChunkTable::decode(compressed.last(end_bytes), compressed.size(), dtype, values));
  if (table.bytes() != out.size()) {
    return {SparseError::kSparseSize,
            concat("expected ", out.size(), " bytes, found ", table.bytes())};
  }
  const std::span<const ChunkEntry> chunks = table.chunks();
  const size_t step = table.bytes_per_chunk();
  return for_each_chunk<ChunkDecoder>(chunks.size(), threads, [&](ChunkDecoder& decoder, size_t i) {
    const auto to = out.subspan(i * step, std::min(step, out.size() - i * step));
    decoder.write_around_caches(out.size() >= kLargeResult);
    const Status status =
        decoder.decode(compressed.subspan(chunks[i].offset, chunks[i].bytes), chunks[i], dtype, to);
    return status.ok() ? status : status.with_context(concat("chunk ", i));
  });
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

std::string zstd_version() { return ZSTD_versionString(); }

}  // namespace winnow
