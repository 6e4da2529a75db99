#include "core/selection/known_mask.h"

#include <algorithm>
#include <bit>

namespace winnow::core {

template <typename Key>
const uint64_t* KeepBits<Key>::next(const Key* keys, size_t count) {
  const size_t words = (count + kernels::kKeysPerWord - 1) / kernels::kKeysPerWord;
  const size_t tied = kernels_.compare(keys, words, threshold_, keep_, ties_);
  // Without their ties the keep bits are right if all ties of the chunk are dropped.
  if (tied <= ties_left_) {
    ties_left_ -= tied;
    return keep_;
  }
  for (size_t w = 0; w < words; ++w) {
    uint64_t ties = ties_[w];
    for (; ties_left_ > 0 && ties != 0; --ties_left_) ties &= ties - 1;  // drops the lowest index
    keep_[w] |= ties;
  }
  return keep_;
}

template class KeepBits<int32_t>;
template class KeepBits<int64_t>;

void write_uniform(const BlockMatrix& matrix, const Task& task, bool keep, uint8_t* mask,
                   MaskWriter& writer) {
  uint64_t bits[kChunkKeys / 64];
  std::fill(std::begin(bits), std::end(bits), keep ? ~uint64_t{0} : 0);
  for_each_piece(matrix, task, [&](size_t offset, size_t count) {
    writer.write(matrix, task.first + offset, count, bits, mask);
  });
}

}  // namespace winnow::core
