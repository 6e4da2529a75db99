// PRIVATE. Which of many keys lie between two bounds, by the kernel that classifies keys.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>

#include "core/tasks/scratch.h"
#include "kernels/kernel_table.h"

namespace winnow::core {

/// The keys in [low, high] of some others, in order, and where they stood.
template <typename Key>
struct NearKeys {
  ScratchVector<Key> keys;
  ScratchVector<uint32_t> indices;
};

/// Precondition: 0 <= low <= high < kPadKey, so that there are keys on either side of both.
template <typename Key>
NearKeys<Key> near_keys(const kernels::KeyKernels<Key>& kernels, std::span<const Key> keys, Key low,
                        Key high) {
  assert(0 <= low && low <= high && high < kernels::kPadKey<Key>);
  constexpr size_t kPiece = 1024;
  const kernels::Bracket<Key> bracket{static_cast<Key>(low - 1), low, static_cast<Key>(high + 1)};
  NearKeys<Key> near;
  Key padded[kernels::kKeysPerWord];
  uint64_t keep[kPiece / kernels::kKeysPerWord];
  uint64_t kept = 0;
  for (size_t begin = 0; begin < keys.size();) {
    const size_t left = keys.size() - begin;
    const Key* piece = keys.data() + begin;
    size_t count = std::min(kPiece, left - left % kernels::kKeysPerWord);
    if (count == 0) {  // the last few, as a word of their own
      std::fill(std::copy(piece, piece + left, padded), std::end(padded), kernels::kPadKey<Key>);
      piece = padded;
      count = kernels::kKeysPerWord;
    }
    uint32_t* indices = near.indices.room(count + 4);
    const size_t found = kernels.classify(piece, count / kernels::kKeysPerWord, bracket, keep,
                                          {indices, near.keys.room(count + 4)}, &kept);
    for (size_t i = 0; i < found; ++i) indices[i] += static_cast<uint32_t>(begin);
    near.indices.grow(found);
    near.keys.grow(found);
    begin += count;
  }
  return near;
}

}  // namespace winnow::core
