// PRIVATE. Masks when it is known which keys are dropped.
#pragma once

#include <cstdint>

#include "core/masks/mask_writer.h"
#include "core/selection/threshold_search.h"
#include "core/tasks/tasks.h"

namespace winnow::core {

/// Turns keys into keep bits, chunk by chunk in block order: drops all below the threshold, and of
/// those equal to it the first `ties_left`.
template <typename Key>
class KeepBits {
 public:
  KeepBits(const kernels::KeyKernels<Key>& kernels, Key threshold, uint64_t ties_left)
      : kernels_(kernels), threshold_(threshold), ties_left_(ties_left) {}

  /// The keep bits of the next `count` (at most kChunkKeys) padded keys; valid until the next call.
  const uint64_t* next(const Key* keys, size_t count);

 private:
  const kernels::KeyKernels<Key>& kernels_;
  Key threshold_;
  uint64_t ties_left_;
  uint64_t keep_[kChunkKeys / 64];
  uint64_t ties_[kChunkKeys / 64];
};

/// Writes the mask of a task none or all of whose blocks are selected.
void write_uniform(const BlockMatrix& matrix, const Task& task, bool keep, uint8_t* mask,
                   MaskWriter& writer);

}  // namespace winnow::core
