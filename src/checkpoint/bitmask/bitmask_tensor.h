// Private: one weight as compressed-tensors stores it in its formats sparse-bitmask and
// sparse-24-bitmask (docs/formats.md): a bit for each value, then the values whose bit is set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "winnow/checkpoint/checkpoint_reader.h"

namespace winnow::checkpoint {

/// A weight, and which tensors of a file it is made of.
struct BitmaskParts {
  TensorInfo weight;                  ///< what comes out: its name, dtype, shape and size
  uint64_t stored_bytes = 0;          ///< of all parts
  size_t values = 0;                  ///< index of `.compressed`
  size_t bitmask = 0;                 ///< index of `.bitmask`
  size_t shape = 0;                   ///< index of `.shape`
  std::optional<size_t> row_offsets;  ///< index of `.row_offsets`; none: 2:4
};

/// Reads the values of one weight. Const members may be called from several threads at once.
///
/// Memory: 8 bytes for each 8 KiB of bitmask from the first read on, and
/// in a read at most 64 KiB of bitmask with its values.
class BitmaskTensor {
 public:
  /// The parts fit together by their types and shapes. `file` has them and outlives the object.
  BitmaskTensor(const CheckpointReader& file, BitmaskParts parts);

  const BitmaskParts& parts() const noexcept { return parts_; }

  /// See CheckpointReader::read; the range lies within the weight. The first read of a weight goes
  /// through its whole bitmask, and gives kBitmaskPadding, kBitmaskPattern, kBitmaskRowOffsets or
  /// kBitmaskCount if the parts contradict each other.
  Status read(uint64_t offset, std::span<std::byte> out) const;

 private:
  // A range of values that begins and ends anywhere: [first, last).
  struct Range {
    uint64_t first, last;
  };

  Status index_bits() const;
  Status check_rows(std::span<const uint8_t> bits, uint64_t begin, uint64_t ones_before) const;
  Status check_offsets(std::span<const uint64_t> ones_by_row, uint64_t first_row) const;
  Status read_values(Range range, std::span<std::byte> out) const;
  Status read_piece(Range range, uint64_t begin, std::span<uint8_t> bits,
                    std::span<std::byte> out) const;
  uint64_t byte_of(uint64_t value) const noexcept;
  uint64_t value_at(uint64_t byte) const noexcept;
  uint64_t bitmask_bytes() const noexcept { return rows_ * row_bytes_; }

  const CheckpointReader& file_;
  BitmaskParts parts_;
  uint64_t value_bytes_, columns_;
  uint64_t rows_, row_bytes_;  // of the bitmask
  mutable std::once_flag indexed_;
  mutable Status status_;               // of the index
  mutable std::vector<uint64_t> ones_;  // set bits before each 8 KiB of the bitmask
};

}  // namespace winnow::checkpoint
