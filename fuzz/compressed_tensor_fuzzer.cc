// Any bytes as a compressed tensor, and any bytes as values. What is decoded needs no checksum to
// be safe: the chunk decoder is called without looking at the stored one.
//
//   python3 fuzz/compressed_tensor_seeds.py seeds
//   compressed_tensor_fuzzer -dict=fuzz/compressed_tensor_fuzzer.dict -timeout=5 corpus seeds
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "sparse/chunk.h"
#include "winnow/base/parallel_for.h"
#include "winnow/sparse/chunk_codec.h"
#include "winnow/sparse/compressed_tensor.h"

namespace {

using winnow::DType;
using winnow::SerialFor;
using winnow::Status;
using winnow::sparse::UncheckedDecoder;

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF64,
                            DType::kU8,  DType::kI16,  DType::kI64, DType::kF4};

void require(bool holds) {
  if (!holds) std::abort();
}

void check_message(const Status& status) {
  for (const char c : status.message()) require(static_cast<uint8_t>(c) >= 0x20);
}

// What comes first in the input: how the rest is to be taken.
struct Front {
  uint8_t mode;
  uint8_t type;
  uint16_t values;
};

void decode_chunk(std::span<const uint8_t> chunk, DType dtype, size_t values) {
  winnow::ChunkDecoder decoder = winnow::ChunkDecoder::create().value();
  std::vector<std::byte> out(values * winnow::element_bytes(dtype));
  check_message(UncheckedDecoder::decode(decoder, std::as_bytes(chunk), 0, dtype, out));
}

void decode_tensor(std::span<const uint8_t> bytes, DType dtype, size_t values) {
  SerialFor serial;
  std::vector<std::byte> out(values * winnow::element_bytes(dtype));
  check_message(decompress_values(std::as_bytes(bytes), dtype, out, serial));
}

void round_trip(std::span<const uint8_t> bytes, DType dtype, size_t row) {
  const size_t itemsize = winnow::element_bytes(dtype);
  const auto values = std::as_bytes(bytes.first(bytes.size() / itemsize * itemsize));
  SerialFor serial;
  const auto small = compress_values(values, dtype, row, serial);
  require(small.ok());
  require(small->size() <= values.size() + values.size() / 1000 + 1024);
  std::vector<std::byte> back(values.size());
  require(decompress_values(*small, dtype, back, serial).ok());
  require(std::equal(back.begin(), back.end(), values.begin()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < sizeof(Front)) return 0;
  Front front;
  std::memcpy(&front, data, sizeof(front));
  const std::span<const uint8_t> rest(data + sizeof(front), size - sizeof(front));
  const DType dtype = kTypes[front.type % std::size(kTypes)];
  switch (front.mode % 3) {
    case 0:
      decode_chunk(rest, dtype, front.values);
      break;
    case 1:
      decode_tensor(rest, dtype, front.values);
      break;
    default:
      round_trip(rest, dtype, front.values);
  }
  return 0;
}
