#include "winnow/sparse/chunk_table.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "sparse/bytes.h"

namespace winnow {

using namespace sparse;

namespace {

constexpr uint8_t kMagic[3] = {'W', 'N', 'Z'};
constexpr uint64_t kMaxChunkBytes = uint64_t{1} << 26;

struct Trailer {
  uint64_t values = 0;
  uint32_t values_per_chunk = 0;
  uint8_t itemsize = 0;
  uint32_t crc = 0;

  uint64_t chunks() const { return values / values_per_chunk + (values % values_per_chunk != 0); }
};

Result<Trailer> decode_trailer(std::span<const std::byte> bytes, DType dtype, uint64_t values) {
  ByteReader from(as_numbers(bytes.last(std::min(bytes.size(), kTrailerBytes))));
  Trailer trailer;
  WINNOW_ASSIGN_OR_RETURN(trailer.values, from.number<uint64_t>("the number of values"));
  WINNOW_ASSIGN_OR_RETURN(trailer.values_per_chunk, from.number<uint32_t>("the size of chunks"));
  WINNOW_ASSIGN_OR_RETURN(const auto element, from.number<uint32_t>("the size of elements"));
  WINNOW_ASSIGN_OR_RETURN(trailer.crc, from.number<uint32_t>("the checksum of the table"));
  WINNOW_ASSIGN_OR_RETURN(const auto magic, from.take(sizeof(kMagic), "the magic number"));
  WINNOW_ASSIGN_OR_RETURN(const auto version, from.number<uint8_t>("the version"));
  if (!std::equal(magic.begin(), magic.end(), std::begin(kMagic))) {
    return Status(SparseError::kSparseMagic, "the last bytes are not those of a compressed tensor");
  }
  if (version != kFormatVersion) {
    return Status(SparseError::kSparseVersion,
                  concat("expected format version ", kFormatVersion, ", found ", version,
                         ": a newer winnow reads it"));
  }
  if (trailer.values != values || element != element_bytes(dtype)) {
    return Status(SparseError::kSparseSize,
                  concat("expected ", values, " values of ", element_bytes(dtype), " bytes, found ",
                         trailer.values, " of ", element));
  }
  if (trailer.values_per_chunk == 0 ||
      uint64_t{trailer.values_per_chunk} * element > kMaxChunkBytes) {
    return Status(SparseError::kSparseSize,
                  concat("expected chunks of up to ", kMaxChunkBytes, " bytes, found ",
                         trailer.values_per_chunk, " values"));
  }
  // Compared by division: a product could wrap.
  if (trailer.chunks() > std::numeric_limits<int64_t>::max() / kTableEntryBytes) {
    return Status(SparseError::kSparseSize,
                  concat("expected fewer chunks, found ", trailer.chunks()));
  }
  return trailer;
}

}  // namespace

size_t element_bytes(DType dtype) noexcept { return std::max<size_t>(1, dtype_bits(dtype) / 8); }

uint64_t chunk_values(uint64_t row) noexcept {
  return row == 0 || row > kChunkValues ? kChunkValues : kChunkValues / row * row;
}

ChunkTable::ChunkTable(DType dtype, uint64_t values, uint64_t values_per_chunk)
    : itemsize_(element_bytes(dtype)), values_(values), values_per_chunk_(values_per_chunk) {}

void ChunkTable::add(std::span<const std::byte> chunk, uint32_t value_crc) {
  const uint64_t offset = chunks_.empty() ? 0 : chunks_.back().offset + chunks_.back().bytes;
  chunks_.push_back({offset, chunk.size(), crc32(as_numbers(chunk)), value_crc});
}

std::vector<std::byte> ChunkTable::encode() const {
  Bytes out;
  for (const ChunkEntry& chunk : chunks_) {
    append_number(chunk.bytes, out);
    append_number(chunk.stored_crc, out);
    append_number(chunk.value_crc, out);
  }
  append_number(values_, out);
  append_number(static_cast<uint32_t>(values_per_chunk_), out);
  append_number(static_cast<uint32_t>(itemsize_), out);
  append_number(crc32(out), out);
  out.insert(out.end(), std::begin(kMagic), std::end(kMagic));
  out.push_back(kFormatVersion);
  const auto bytes = std::as_bytes(std::span(out));
  return {bytes.begin(), bytes.end()};
}

Result<uint64_t> ChunkTable::end_bytes(std::span<const std::byte> trailer, uint64_t total,
                                       DType dtype, uint64_t values) {
  WINNOW_ASSIGN_OR_RETURN(const Trailer found, decode_trailer(trailer, dtype, values));
  const uint64_t table = found.chunks() * kTableEntryBytes;
  // Compared before somebody takes so much memory.
  if (table <= total - kTrailerBytes) return table + kTrailerBytes;
  return Status(SparseError::kSparseTruncated,
                concat("expected a table of ", table, " bytes, found ", total - kTrailerBytes));
}

Result<ChunkTable> ChunkTable::decode(std::span<const std::byte> end, uint64_t total, DType dtype,
                                      uint64_t values) {
  WINNOW_ASSIGN_OR_RETURN(const Trailer trailer, decode_trailer(end, dtype, values));
  const uint64_t table = trailer.chunks() * kTableEntryBytes;
  if (end.size() != table + kTrailerBytes) {
    return Status(
        SparseError::kSparseTruncated,
        concat("expected a table of ", table, " bytes, found ", end.size() - kTrailerBytes));
  }
  if (crc32(as_numbers(end.first(end.size() - 8))) != trailer.crc) {
    return Status(SparseError::kSparseStoredChecksum, "the table of chunks is damaged");
  }
  ByteReader from(as_numbers(end));
  ChunkTable result(dtype, values, trailer.values_per_chunk);
  result.chunks_.resize(trailer.chunks());
  uint64_t offset = 0;
  for (ChunkEntry& chunk : result.chunks_) {
    chunk.offset = offset;
    WINNOW_ASSIGN_OR_RETURN(chunk.bytes, from.number<uint64_t>("a chunk's size"));
    WINNOW_ASSIGN_OR_RETURN(chunk.stored_crc, from.number<uint32_t>("a chunk's checksum"));
    WINNOW_ASSIGN_OR_RETURN(chunk.value_crc, from.number<uint32_t>("a chunk's checksum"));
    if (chunk.bytes > total - offset) {
      return Status(
          SparseError::kSparseTruncated,
          concat("expected a chunk of at most ", total - offset, " bytes, found ", chunk.bytes));
    }
    offset += chunk.bytes;
  }
  if (offset == total - end.size()) return result;
  return Status(SparseError::kSparseTrailing,
                concat("expected chunks of ", total - end.size(), " bytes, found ", offset));
}

}  // namespace winnow
