// Private: which groups of a chunk's values are kept, from values to bytes and back.
//
// A chunk of n values consists of ceil(n / group) groups of `group` values that follow each other;
// the last may be shorter. A group is kept if one of its values has a bit that is not 0.
//
//     kind all       nothing follows: every group is kept
//     kind gaps      number of symbols (4 bytes), shift (1 byte), stream of symbols, planes of the
//                    low bits (bit_planes.h)
//     kind bitmask   stream of one bit a group, the first in the lowest bit of the first byte
//
// A gap is the number of dropped groups before a kept one. Its low `shift` bits are in the planes;
// the rest is a symbol below 255, after as many symbols of 255 as it holds 255s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernel_table.h"
#include "sparse/stream.h"
#include "sparse/tails.h"

namespace winnow::sparse {

enum class PositionKind : uint8_t { kAll = 0, kGaps = 1, kBitmask = 2 };

/// One bit a group, in words of 64.
struct GroupBits {
  std::vector<uint64_t> words;
  size_t groups = 0;
  size_t kept = 0;

  /// The bytes that hold a bit of a group.
  std::span<const uint8_t> bytes() const noexcept {
    return {reinterpret_cast<const uint8_t*>(words.data()), (groups + 7) / 8};
  }
};

constexpr size_t words_for(size_t bits) noexcept { return (bits + 63) / 64; }

/// Calls visit(index) for every bit that is set, in order.
template <typename Visit>
void for_each_bit(std::span<const uint64_t> words, const Visit& visit) {
  for (size_t w = 0; w < words.size(); ++w) {
    for (uint64_t bits = words[w]; bits != 0; bits &= bits - 1) {
      visit(w * 64 + static_cast<size_t>(__builtin_ctzll(bits)));
    }
  }
}

/// The size of groups under which the values of a chunk, of which `nonzero` says which are not 0,
/// probably take the least bytes: 1, 2, 4 .. 64 or `row`, the length of a row.
/// @param value_bits  what a kept value is worth.
size_t choose_group(const kernels::KernelTable& table, std::span<const uint64_t> nonzero,
                    size_t values, size_t row, double value_bits);

/// The groups with a bit in `nonzero`.
void group_bits(const kernels::KernelTable& table, std::span<const uint64_t> nonzero, size_t values,
                size_t group, GroupBits& out);

/// Writes positions and reads them back. Not thread-safe: keeps its buffers.
class PositionCodec {
 public:
  explicit PositionCodec(const kernels::KernelTable& table) : table_(table) {}

  /// Appends the positions in the kind that is smaller; returns it.
  PositionKind append(const GroupBits& groups, StreamWriter& streams, Bytes& out);

  /// Takes the positions of `kept` out of groups.groups groups; sets the words.
  /// Errors: kPositions, kUnknownKind, those of streams.
  Status read(PositionKind kind, size_t kept, ByteReader& from, StreamReader& streams,
              GroupBits& groups);

 private:
  Status read_gaps(size_t kept, ByteReader& from, StreamReader& streams, GroupBits& groups);

  const kernels::KernelTable& table_;
  Bytes symbols_, low_bits_;
  PlaneBuffers planes_;
  std::vector<uint32_t> low_;
};

}  // namespace winnow::sparse
