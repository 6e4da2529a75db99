// Each way in which a chunk or a table can be wrong has its code. The checksums are those of the
// damaged bytes, so that the decoders themselves have to notice.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "sparse/bytes.h"
#include "sparse/chunk.h"
#include "sparse/value_sets.h"
#include "winnow/sparse/chunk_codec.h"

namespace winnow::sparse {
namespace {

using testing::ByteVector;
using testing::pruned_normal;

struct Chunk {
  ByteVector bytes;
  uint32_t crc = 0;
};

Chunk encoded(const ByteVector& values, DType dtype = DType::kF32, size_t row = 1) {
  ChunkEncoder encoder = ChunkEncoder::create().value();
  const EncodedChunk chunk = encoder.encode(values, dtype, row).value();
  return {ByteVector(chunk.bytes.begin(), chunk.bytes.end()), chunk.value_crc};
}

Status status_of(const Chunk& chunk, size_t values, DType dtype = DType::kF32) {
  ChunkDecoder decoder = ChunkDecoder::create().value();
  ByteVector out(values * element_bytes(dtype));
  return UncheckedDecoder::decode(decoder, chunk.bytes, chunk.crc, dtype, out);
}

StatusCode fault_of(const Chunk& chunk, size_t values, DType dtype = DType::kF32) {
  return status_of(chunk, values, dtype).code();
}

Chunk with_byte(Chunk chunk, size_t at, uint8_t value) {
  chunk.bytes[at] = std::byte{value};
  return chunk;
}

TEST(ChunkReject, AWholeChunkIsNotRefused) {
  EXPECT_EQ(fault_of(encoded(pruned_normal(DType::kF32, 1000, 0.9)), 1000), ErrorCode::kOk);
}

TEST(ChunkReject, AFrontThatSaysNonsense) {
  const Chunk good = encoded(pruned_normal(DType::kF32, 1000, 0.9));
  EXPECT_EQ(fault_of(with_byte(good, 0, 3), 1000), SparseError::kSparseUnknownKind);
  EXPECT_EQ(fault_of(with_byte(good, 1, 4), 1000), SparseError::kSparseUnknownKind);
  EXPECT_EQ(fault_of(with_byte(good, 3, 1), 1000), SparseError::kSparseFront);
  EXPECT_EQ(fault_of(with_byte(good, 4, 0), 1000), SparseError::kSparseFront);   // group 0
  EXPECT_EQ(fault_of(with_byte(good, 6, 1), 1000), SparseError::kSparseFront);   // group 65537
  EXPECT_EQ(fault_of(with_byte(good, 10, 1), 1000), SparseError::kSparseFront);  // kept
  EXPECT_EQ(fault_of({ByteVector(11), 0}, 1000), SparseError::kSparseTruncated);
}

TEST(ChunkReject, MessagesSayAtWhichByte) {
  const Chunk good = encoded(pruned_normal(DType::kF32, 1000, 0.9));
  const auto message = [&](size_t at, uint8_t value) {
    return std::string(status_of(with_byte(good, at, value), 1000).message());
  };
  EXPECT_TRUE(message(3, 1).starts_with("at byte 3: ")) << message(3, 1);
  EXPECT_TRUE(message(10, 1).starts_with("at byte 8: ")) << message(10, 1);
  EXPECT_TRUE(message(0, 3).starts_with("at byte 12: ")) << message(0, 3);
  Chunk longer = good;
  longer.bytes.resize(good.bytes.size() + 8);
  const std::string end = "at byte " + std::to_string(longer.bytes.size()) + ": ";
  EXPECT_TRUE(status_of(longer, 1000).message().starts_with(end));
}

TEST(ChunkReject, AKindOfValuesThatTheTypeDoesNotHave) {
  const Chunk window = encoded(pruned_normal(DType::kF32, 1000, 0.9));
  ASSERT_EQ(window.bytes[1], std::byte{1});
  EXPECT_EQ(fault_of(window, 1000, DType::kI32), SparseError::kSparseUnknownKind);
  EXPECT_EQ(fault_of(with_byte(window, 1, 3), 1000, DType::kBF16), SparseError::kSparseUnknownKind);
}

TEST(ChunkReject, BytesBehindTheLastStream) {
  Chunk chunk = encoded(pruned_normal(DType::kF32, 1000, 0.9));
  const size_t size = chunk.bytes.size();
  chunk.bytes.resize(size + 8);
  EXPECT_EQ(fault_of(chunk, 1000), SparseError::kSparseTrailing);
}

TEST(ChunkReject, PaddingThatIsNotZero) {
  for (size_t n = 100; n < 140; ++n) {
    const Chunk chunk = encoded(testing::random_bits(n), DType::kU8);
    if (chunk.bytes.back() != std::byte{0}) continue;
    EXPECT_EQ(fault_of(with_byte(chunk, chunk.bytes.size() - 1, 1), n, DType::kU8),
              SparseError::kSparseTrailing);
  }
}

TEST(ChunkReject, ValuesOfAnotherChecksum) {
  Chunk chunk = encoded(pruned_normal(DType::kF32, 1000, 0.9));
  chunk.crc ^= 1;
  EXPECT_EQ(fault_of(chunk, 1000), SparseError::kSparseValueChecksum);
}

TEST(ChunkReject, EscapesThatDoNotMatch) {
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1.0f + static_cast<float>(i) / 1000;
  values[7] = 1e30f;
  values[8] = 1e-30f;
  values[9] = 1e20f;  // three exponents more: one of the four has to be an escape
  const Chunk good = encoded(testing::bytes_of_numbers(values));
  ASSERT_EQ(good.bytes[1], std::byte{1});
  ASSERT_EQ(fault_of(good, 1000), ErrorCode::kOk);
  const size_t exponents = 12, escapes = exponents + 6;
  EXPECT_EQ(good.bytes[escapes], std::byte{1});
  EXPECT_EQ(fault_of(with_byte(good, escapes, 2), 1000), SparseError::kSparseValues);
  EXPECT_EQ(fault_of(with_byte(good, escapes + 3, 1), 1000), SparseError::kSparseValues);
  EXPECT_EQ(fault_of(with_byte(good, exponents + 1, 1), 1000), SparseError::kSparseValues);
}

TEST(ChunkReject, AFirstExponentThatIsTooLarge) {
  const Chunk good = encoded(pruned_normal(DType::kF64, 1000, 0), DType::kF64);
  ASSERT_EQ(good.bytes[1], std::byte{2});
  EXPECT_EQ(fault_of(with_byte(good, 13, 0x10), 1000, DType::kF64), SparseError::kSparseValues);
}

// Every byte of a chunk, changed in every way: an error or the right values, never a crash.
TEST(ChunkReject, AnyChangedByteIsNoticedOrHarmless) {
  for (const double zeros : {0.0, 0.5, 0.9}) {
    const ByteVector values = pruned_normal(DType::kBF16, 200, zeros);
    const Chunk good = encoded(values, DType::kBF16);
    ChunkDecoder decoder = ChunkDecoder::create().value();
    ByteVector out(values.size());
    for (size_t at = 0; at < good.bytes.size(); ++at) {
      for (unsigned value = 0; value < 256; ++value) {
        const Chunk bad = with_byte(good, at, static_cast<uint8_t>(value));
        if (!UncheckedDecoder::decode(decoder, bad.bytes, bad.crc, DType::kBF16, out).ok())
          continue;
        ASSERT_EQ(std::memcmp(out.data(), values.data(), values.size()), 0) << at << " " << value;
      }
    }
  }
}

class TableReject : public ::testing::Test {
 protected:
  // The table of one chunk of 100 values in 64 bytes, with a checksum that fits.
  ByteVector end(const std::function<void(ByteVector&)>& change = [](ByteVector&) {}) {
    ChunkTable table(DType::kF32, 100, 1000);
    table.add(ByteVector(64), 5);
    ByteVector bytes = table.encode();
    change(bytes);
    const uint32_t crc = crc32(as_numbers(std::span(bytes).first(bytes.size() - 8)));
    std::memcpy(&bytes[bytes.size() - 8], &crc, sizeof(crc));
    return bytes;
  }
  static StatusCode fault(const ByteVector& end, uint64_t total = 104) {
    return ChunkTable::decode(end, total, DType::kF32, 100).status().code();
  }
};

TEST_F(TableReject, EveryFieldThatIsWrong) {
  EXPECT_EQ(fault(end()), ErrorCode::kOk);
  EXPECT_EQ(fault(end(), 112), SparseError::kSparseTrailing);  // bytes that no chunk has
  EXPECT_EQ(fault(end(), 96), SparseError::kSparseTrailing);
  const auto changed = [&](size_t at, uint8_t value) {
    return fault(end([&](ByteVector& bytes) { bytes[at] = std::byte{value}; }));
  };
  EXPECT_EQ(changed(7, 1), SparseError::kSparseTruncated);  // a chunk larger than the tensor
  EXPECT_EQ(changed(16, 99), SparseError::kSparseSize);     // values
  EXPECT_EQ(changed(28, 2), SparseError::kSparseSize);      // bytes of an element
  EXPECT_EQ(changed(29, 1), SparseError::kSparseSize);      // what has to be 0
  EXPECT_EQ(changed(27, 0xff), SparseError::kSparseSize);   // chunks that are too large
  EXPECT_EQ(changed(36, 'X'), SparseError::kSparseMagic);
  EXPECT_EQ(changed(39, 2), SparseError::kSparseVersion);
  ByteVector damaged = end();
  damaged[9] ^= std::byte{1};
  EXPECT_EQ(fault(damaged), SparseError::kSparseStoredChecksum);
  const ByteVector whole = end();
  EXPECT_EQ(fault(ByteVector(whole.begin() + 1, whole.end()), 103), SparseError::kSparseTruncated);
  EXPECT_EQ(fault(ByteVector(whole.end() - 10, whole.end()), 10), SparseError::kSparseTruncated);
}

// The sizes that such a number of chunks would have do not fit into 64 bits.
TEST(DecompressValues, RefusesMoreChunksThanCanBe) {
  const ByteVector end = ChunkTable(DType::kU8, uint64_t{1} << 60, 1).encode();
  EXPECT_EQ(ChunkTable::end_bytes(end, end.size(), DType::kU8, uint64_t{1} << 60).status().code(),
            SparseError::kSparseSize);
}

TEST(ChunkReject, SignsWhereNoneCanBe) {
  std::vector<uint32_t> bits(640);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = i % 10 == 0 ? 0x3f800000 + i : 0x80000000;
  const Chunk good = encoded(testing::bytes_of_numbers(bits));
  ASSERT_EQ(good.bytes[2], std::byte{1});
  ASSERT_EQ(fault_of(good, 640), ErrorCode::kOk);
  EXPECT_EQ(fault_of(with_byte(good, 2, 2), 640), SparseError::kSparseUnknownKind);
  EXPECT_EQ(fault_of(with_byte(good, 3, 1), 640), SparseError::kSparseFront);
  EXPECT_EQ(fault_of(with_byte(good, 2, 0), 640), SparseError::kSparseTrailing);
  const Chunk planes = encoded(testing::random_bits(640), DType::kU8);
  EXPECT_EQ(fault_of(with_byte(planes, 2, 1), 640, DType::kU8), SparseError::kSparseUnknownKind);
  // The sign of a value that is kept: of every byte, some bit is one.
  const size_t stream = good.bytes.size() - (good.bytes.size() - 12) % 8 - 80;
  size_t refused = 0;
  for (size_t at = stream; at < good.bytes.size(); ++at) {
    refused += fault_of(with_byte(good, at, 0xff), 640) == SparseError::kSparsePositions;
  }
  EXPECT_GT(refused, 0u);
}

TEST_F(TableReject, AKindOfNothing) {
  const Chunk zeros = encoded(ByteVector(400));
  EXPECT_EQ(fault_of(zeros, 100), ErrorCode::kOk);
  EXPECT_EQ(fault_of(with_byte(zeros, 0, 1), 100), SparseError::kSparseUnknownKind);
  EXPECT_EQ(encoding_text(std::span(zeros.bytes).first(kFrontBytes)), "zeros");
}

}  // namespace
}  // namespace winnow::sparse
