#include "sparse/stream.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <random>

namespace winnow::sparse {
namespace {

Bytes stream_of(const Bytes& raw, StreamContent content = StreamContent::kSymbols) {
  StreamWriter writer;
  Bytes out;
  writer.append(raw, content, out);
  return out;
}

Result<Bytes> read_back(const Bytes& stream, size_t size) {
  StreamReader reader;
  ByteReader from(stream);
  Bytes scratch;
  const auto bytes = reader.read(from, size, scratch);
  if (!bytes.ok()) return bytes.status();
  EXPECT_EQ(from.left(), 0u);
  return Bytes(bytes->begin(), bytes->end());
}

Bytes skewed(size_t n, double stay) {
  std::mt19937 random(1);
  std::geometric_distribution<int> symbol(stay);
  Bytes raw(n);
  for (uint8_t& byte : raw) byte = static_cast<uint8_t>(symbol(random));
  return raw;
}

TEST(Stream, ComesBack) {
  std::mt19937 random(1);
  Bytes noise(5000);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  for (const Bytes& raw :
       {Bytes{}, Bytes{7}, Bytes(1000, 9), noise, skewed(100'000, 0.4), skewed(100'000, 0.95)}) {
    for (const auto content : {StreamContent::kSymbols, StreamContent::kPatterns}) {
      const Bytes stream = stream_of(raw, content);
      EXPECT_LE(stream.size(), raw.size() + 5);
      const Result<Bytes> back = read_back(stream, raw.size());
      ASSERT_TRUE(back.ok()) << back.status().message();
      EXPECT_TRUE(*back == raw);
    }
  }
}

TEST(Stream, TakesTheCoderThatIsSmallest) {
  std::mt19937 random(1);
  Bytes noise(5000);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  EXPECT_EQ(stream_of(noise)[0], 0);
  EXPECT_EQ(stream_of(Bytes(1000, 9))[0], 1);
  EXPECT_EQ(stream_of(skewed(5000, 0.4))[0], 2);
}

// The entropy of the symbols, and 5 % for codes of whole bits.
TEST(Stream, CodesSymbolsNearTheirEntropy) {
  const double q = 0.4, entropy = (-q * std::log2(q) - (1 - q) * std::log2(1 - q)) / q;
  const size_t n = 1 << 20;
  EXPECT_LE(8.0 * static_cast<double>(stream_of(skewed(n, q)).size()),
            1.05 * entropy * static_cast<double>(n));
}

TEST(Stream, IsTheSameWhateverWasWrittenBefore) {
  const Bytes a = skewed(50'000, 0.3), b = skewed(20'000, 0.6);
  StreamWriter writer;
  Bytes out;
  writer.append(a, StreamContent::kPatterns, out);
  out.clear();
  writer.append(b, StreamContent::kSymbols, out);
  EXPECT_TRUE(out == stream_of(b));
}

// Streams that are made by hand: the coder, the size, the bytes.
Bytes by_hand(uint8_t coder, const Bytes& stored) {
  Bytes out = {coder};
  append_number(static_cast<uint32_t>(stored.size()), out);
  out.insert(out.end(), stored.begin(), stored.end());
  return out;
}

Bytes frame_of(const Bytes& raw) {
  Bytes frame(ZSTD_compressBound(raw.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), raw.data(), raw.size(), 1));
  return frame;
}

StatusCode fault_of(const Bytes& stream, size_t size) {
  return read_back(stream, size).status().code();
}

TEST(Stream, RefusesWhatItIsNot) {
  EXPECT_EQ(fault_of({}, 1), SparseError::kSparseTruncated);
  EXPECT_EQ(fault_of({0, 1, 0}, 1), SparseError::kSparseTruncated);
  EXPECT_EQ(fault_of({0, 2, 0, 0, 0, 5}, 2), SparseError::kSparseTruncated);
  EXPECT_EQ(fault_of(by_hand(3, {1}), 1), SparseError::kSparseUnknownKind);
  EXPECT_EQ(fault_of(by_hand(0, {1, 2}), 3), SparseError::kSparseStream);
  EXPECT_EQ(fault_of(by_hand(1, {1, 2}), 2), SparseError::kSparseStream);
  EXPECT_EQ(fault_of(by_hand(2, {1, 2, 3}), 3), SparseError::kSparseStream);
}

TEST(Stream, RefusesFramesOfAnotherSizeAndMoreThanOne) {
  const Bytes raw = skewed(1000, 0.5), frame = frame_of(raw);
  EXPECT_TRUE(read_back(by_hand(2, frame), 1000).ok());
  EXPECT_EQ(fault_of(by_hand(2, frame), 999), SparseError::kSparseStream);
  EXPECT_EQ(fault_of(by_hand(2, frame), 1001), SparseError::kSparseStream);
  Bytes two = frame;
  two.insert(two.end(), frame.begin(), frame.end());
  EXPECT_EQ(fault_of(by_hand(2, two), 2000), SparseError::kSparseStream);
}

}  // namespace
}  // namespace winnow::sparse
