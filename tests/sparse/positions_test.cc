#include "sparse/positions.h"

#include <gtest/gtest.h>

#include <random>

namespace winnow::sparse {
namespace {

GroupBits random_groups(size_t groups, double share, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::bernoulli_distribution keep(share);
  GroupBits bits;
  bits.groups = groups;
  bits.words.assign(words_for(groups), 0);
  for (size_t i = 0; i < groups; ++i) {
    if (!keep(random)) continue;
    bits.words[i / 64] |= uint64_t{1} << i % 64;
    ++bits.kept;
  }
  return bits;
}

TEST(Positions, ComeBack) {
  StreamWriter writer;
  StreamReader reader;
  PositionCodec codec(kernels::kernel_table(SimdLevel::kScalar));
  for (const size_t groups : {1, 63, 64, 65, 1000, 300'000}) {
    for (const double share : {1.0, 0.5, 0.2, 0.16, 0.05, 0.01, 0.001, 0.00001}) {
      const GroupBits bits = random_groups(groups, share);
      if (bits.kept == 0) continue;
      Bytes out;
      const PositionKind kind = codec.append(bits, writer, out);
      ByteReader from(out);
      GroupBits back;
      back.groups = groups;
      const Status status = codec.read(kind, bits.kept, from, reader, back);
      ASSERT_TRUE(status.ok()) << status.message();
      if (kind == PositionKind::kAll) continue;  // the words are not looked at
      EXPECT_EQ(back.words, bits.words) << groups << " " << share;
      EXPECT_EQ(from.left(), 0u);
    }
  }
}

// A gap of 255 needs an escape, one of 254 does not.
TEST(Positions, GapsAroundTheEscapeComeBack) {
  StreamWriter writer;
  StreamReader reader;
  PositionCodec codec(kernels::kernel_table(SimdLevel::kScalar));
  for (const size_t gap : {253, 254, 255, 256, 509, 510, 511, 100'000}) {
    GroupBits bits = random_groups(gap + 2000, 0.1);
    for (size_t i = 0; i <= gap; ++i) bits.words[i / 64] &= ~(uint64_t{1} << i % 64);
    bits.words[gap / 64] |= uint64_t{1} << gap % 64;
    bits.kept = 0;
    for (const uint64_t word : bits.words)
      bits.kept += static_cast<size_t>(__builtin_popcountll(word));
    Bytes out;
    const PositionKind kind = codec.append(bits, writer, out);
    ASSERT_EQ(kind, PositionKind::kGaps);
    ByteReader from(out);
    GroupBits back;
    back.groups = bits.groups;
    ASSERT_TRUE(codec.read(kind, bits.kept, from, reader, back).ok());
    EXPECT_EQ(back.words, bits.words) << gap;
  }
}

TEST(Positions, GroupsHaveABitIfOneOfTheirValuesHas) {
  std::mt19937_64 random(2);
  for (const size_t group : {1, 2, 3, 4, 7, 8, 50, 64, 100}) {
    const GroupBits values = random_groups(1001, 0.03, random());
    GroupBits groups;
    group_bits(kernels::kernel_table(SimdLevel::kScalar), values.words, 1001, group, groups);
    ASSERT_EQ(groups.groups, (1001 + group - 1) / group);
    size_t kept = 0;
    for (size_t g = 0; g < groups.groups; ++g) {
      bool any = false;
      for (size_t i = g * group; i < std::min<size_t>((g + 1) * group, 1001); ++i) {
        any |= (values.words[i / 64] >> i % 64 & 1) != 0;
      }
      EXPECT_EQ((groups.words[g / 64] >> g % 64 & 1) != 0, any) << group << " " << g;
      kept += any;
    }
    EXPECT_EQ(groups.kept, kept);
  }
}

class Reject : public ::testing::Test {
 protected:
  // The fault of positions of 100 groups that are made by hand.
  StatusCode fault(PositionKind kind, size_t kept, const Bytes& bytes) {
    ByteReader from(bytes);
    GroupBits groups;
    groups.groups = 100;
    return codec_.read(kind, kept, from, reader_, groups).code();
  }
  // Gaps without low bits, as stored streams.
  static Bytes gaps(const Bytes& symbols, uint8_t shift = 0) {
    Bytes out;
    append_number(static_cast<uint32_t>(symbols.size()), out);
    out.push_back(shift);
    out.push_back(0);
    append_number(static_cast<uint32_t>(symbols.size()), out);
    out.insert(out.end(), symbols.begin(), symbols.end());
    return out;
  }
  static Bytes bitmask(Bytes bits) {
    Bytes out = {0};
    append_number(static_cast<uint32_t>(bits.size()), out);
    out.insert(out.end(), bits.begin(), bits.end());
    return out;
  }
  PositionCodec codec_{kernels::kernel_table(SimdLevel::kScalar)};
  StreamReader reader_;
};

TEST_F(Reject, PositionsThatAreNot) {
  const auto fault_of_gaps = [&](size_t kept, const Bytes& symbols, uint8_t shift = 0) {
    return fault(PositionKind::kGaps, kept, gaps(symbols, shift));
  };
  EXPECT_EQ(fault_of_gaps(2, {98, 0}), ErrorCode::kOk);
  EXPECT_EQ(fault_of_gaps(2, {98, 1}), SparseError::kSparsePositions);  // group 100
  EXPECT_EQ(fault_of_gaps(2, {98}), SparseError::kSparsePositions);     // too few
  EXPECT_EQ(fault_of_gaps(1, {9, 9}), SparseError::kSparsePositions);   // too many
  EXPECT_EQ(fault_of_gaps(1, {255}), SparseError::kSparsePositions);    // an escape of nothing
  EXPECT_EQ(fault_of_gaps(1, {9}, 9), SparseError::kSparsePositions);   // the shift
  EXPECT_EQ(fault(PositionKind::kAll, 99, {}), SparseError::kSparsePositions);
  EXPECT_EQ(fault(static_cast<PositionKind>(3), 1, {}), SparseError::kSparseUnknownKind);
  Bytes bits(13);
  bits[0] = 3;
  EXPECT_EQ(fault(PositionKind::kBitmask, 2, bitmask(bits)), ErrorCode::kOk);
  EXPECT_EQ(fault(PositionKind::kBitmask, 3, bitmask(bits)), SparseError::kSparsePositions);
  bits[12] = 0x10;  // group 100
  EXPECT_EQ(fault(PositionKind::kBitmask, 3, bitmask(bits)), SparseError::kSparsePositions);
}

}  // namespace
}  // namespace winnow::sparse
