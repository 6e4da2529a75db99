// PRIVATE. From keep bits, one a block, to mask bytes, one a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/views/block_matrix.h"
#include "kernels/kernel_table.h"
#include "winnow/core/mask.h"

namespace winnow::core {

/// Writes parts of one matrix's mask. Each thread needs a writer of its own.
class MaskWriter {
 public:
  /// `streaming`: write around the caches, right if the mask is larger than they are.
  MaskWriter(const kernels::KernelTable& table, bool streaming);

  /// Writes the mask bytes of blocks [first, first + count); bit i of `keep` is block first + i.
  void write(const BlockMatrix& matrix, size_t first, size_t count, const uint64_t* keep,
             uint8_t* mask);

  /// Turns a block that was written before from kept to dropped, or back.
  void flip_block(const BlockMatrix& matrix, size_t block, bool keep, uint8_t* mask);

  /// Makes streamed bytes visible to other threads; called once after the last write.
  void finish();

  /// How much was dropped so far; `blocks` is not counted.
  const MaskStats& stats() const noexcept { return stats_; }

 private:
  void write_whole(const BlockMatrix& matrix, const Strip& strip, const uint64_t* keep,
                   uint8_t* mask);
  void write_partial(const BlockMatrix& matrix, const Run& run, const uint64_t* keep,
                     uint8_t* mask);
  void write_block(const BlockMatrix& matrix, const Run& block, bool keep, uint8_t* mask);
  void drop_lowest(const BlockMatrix& matrix, const Run& block, uint8_t* mask);
  void copy(uint8_t* to, const uint8_t* from, size_t bytes) const;

  const kernels::KernelTable& table_;
  bool streaming_;
  std::unique_ptr<uint8_t[]> staging_;
  MaskStats stats_;
};

}  // namespace winnow::core
